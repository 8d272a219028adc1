//! What is explored, and what must come out.

use super::super::case::{Case, Effort};
use super::{Broken, Config, Doorbells};

const PROTOCOL: &str = "doorbells";

/// Every configuration.
pub fn cases() -> Vec<Case> {
    let mut cases = correct();
    cases.extend(broken());
    cases
}

fn case(name: &str, config: Config, broken: &[Broken]) -> Case {
    let model = Doorbells { config, broken: broken.to_vec() };
    let case = Case::new(PROTOCOL, name, model);
    match broken {
        [] => case,
        [rule] => case.without(rule).because(rule.leads_to()),
        rules => case.without(rules),
    }
}

fn correct() -> Vec<Case> {
    let holds = |name, config, effort| case(name, config, &[]).effort(effort);
    let c = Config::new;
    vec![
        holds(
            "1C 1P (2) d1 t1 s1 w",
            c(1, 1, 0, 0).quota([2, 2, 0, 0]).deaths(1).wakes(1, 1).word_by_word(),
            Effort::Small,
        ),
        holds("2C 2P, no scans", c(2, 2, 0, 0).no_scans(), Effort::Short),
        holds("1C 2P (2+1) d2", c(1, 2, 0, 0).quota([2, 1, 1, 0]).deaths(2), Effort::Short),
        holds(
            "2C 1P (2) d1 w",
            c(2, 1, 0, 0).quota([1, 1, 2, 0]).deaths(1).word_by_word(),
            Effort::Short,
        ),
        holds("2C 1P (2) d2", c(2, 1, 0, 0).quota([1, 1, 2, 0]).deaths(2), Effort::Short),
        holds(
            "2C 1P (2) d2 t1 w",
            c(2, 1, 0, 0).quota([1, 1, 2, 0]).deaths(2).wakes(1, 0).word_by_word(),
            Effort::Long,
        ),
        holds("2C 2P d0 t1 w", c(2, 2, 0, 0).wakes(1, 0).word_by_word(), Effort::Long),
        holds("2C 1N d2 w", c(2, 0, 0, 1).deaths(2).word_by_word(), Effort::Long),
        holds("1C 2N d2", c(1, 0, 0, 2).deaths(2), Effort::Long),
        holds("2C 1I 1N d2", c(2, 0, 1, 1).deaths(2), Effort::Long),
        holds("3C 1I d2", c(3, 0, 1, 0).deaths(2), Effort::Long),
        holds("2C 2P d1", c(2, 2, 0, 0).deaths(1), Effort::Long),
    ]
}

fn broken() -> Vec<Case> {
    use Broken::*;
    let c = Config::new;
    let one_pair = c(1, 1, 0, 0).quota([2, 2, 0, 0]);
    let ringer_dies = c(2, 1, 0, 0).quota([1, 1, 2, 0]).deaths(1).only([2, 2]);
    let idle_dies = c(2, 0, 1, 1).quota([1, 1, 0, 0]).deaths(1).only([2, 2]);
    let recoverer_too = c(2, 0, 1, 1).quota([1, 1, 0, 0]).deaths(2).only([0, 2]);
    let newcomers_die = c(1, 0, 0, 2).deaths(2).only([1, 2]);
    let fails = |name, config, rule, effort| case(name, config, &[rule]).effort(effort);
    vec![
        fails("1C 1P (2)", one_pair, BellAfterMask, Effort::Small),
        fails("1C 1P", c(1, 1, 0, 0), NoHeavyBarrier, Effort::Small),
        fails("2C 2P, no scans", c(2, 2, 0, 0).no_scans(), NoBaton, Effort::Short),
        fails(
            "2C 1P d1 (C0)",
            c(2, 1, 0, 0).deaths(1).only([0, 0]),
            PeersNotWatched,
            Effort::Small,
        ),
        fails("2C 1P (2) d1 (P)", ringer_dies, NoScanAfterWaking, Effort::Short),
        fails("2C 1P (2) d1 (P)", ringer_dies, NobodyRung, Effort::Short),
        fails("2C 1P (2) d1 (P)", ringer_dies, OnlySleepersRung, Effort::Short),
        fails(
            "1C 2P d1 (P)",
            c(1, 2, 0, 0).deaths(1).only([2, 2]),
            NotRingingItself,
            Effort::Small,
        ),
        fails("2C 1N d1", c(2, 0, 0, 1).deaths(1), NoRosterWake, Effort::Small),
        fails("2C 1N d1", c(2, 0, 0, 1).deaths(1), ArmBeforeRoster, Effort::Short),
        fails("1C 2N d2 (N)", newcomers_die, RosterWakeByRaiserOnly, Effort::Short),
        fails("1C 1N d1", c(1, 0, 0, 1).deaths(1), FreeBeforeSweep, Effort::Small),
        fails("2C 1I 1N (0) d1 (I)", idle_dies, ClaimBesideLifeWord, Effort::Short),
        fails("2C 1I 1N (0) d2 (C, I)", recoverer_too, ClaimWithoutGeneration, Effort::Short),
    ]
}
