//! What is explored, and what must come out.

use super::super::case::{Case, Effort, Expect};
use super::{Broken, Config, Participants};

const PROTOCOL: &str = "participants";

/// Every configuration.
pub fn cases() -> Vec<Case> {
    let mut cases = correct();
    cases.extend(broken());
    cases
}

fn case(name: &str, config: Config, broken: &[Broken]) -> Case {
    let model = Participants { config, broken: broken.to_vec() };
    let case = Case::new(PROTOCOL, name, model);
    match broken {
        [] => case,
        [rule] => case.without(rule).because(rule.leads_to()),
        rules => case.without(rules),
    }
}

fn correct() -> Vec<Case> {
    let holds = |name, config, effort| case(name, config, &[]).effort(effort);
    vec![
        holds("2a i2 d1", Config::new(2, 0, 2).deaths(1, 0), Effort::Small),
        holds("stale proof D0", stale_proof().detach(&[0]), Effort::Small),
        holds("2a i2 d1 k1", Config::new(2, 0, 2).deaths(1, 1), Effort::Short),
        holds("2a i2 d2", Config::new(2, 0, 2).deaths(2, 0), Effort::Short),
        holds("2a i2 d1 k1 D", Config::new(2, 0, 2).deaths(1, 1).detaching(), Effort::Long),
        holds("2a 1n i2 d2", Config::new(2, 1, 2).deaths(2, 0), Effort::Short),
        holds("2a 1n i2 d1 k1 D", Config::new(2, 1, 2).deaths(1, 1).detaching(), Effort::Long),
        holds("3a i3 d1", Config::new(3, 0, 3).deaths(1, 0), Effort::Long),
        holds("2a 1n i2 d2 k1", Config::new(2, 1, 2).deaths(2, 1), Effort::Long),
        holds("1a 2n i2 d1 k1", Config::new(1, 2, 2).deaths(1, 1), Effort::Long),
        case("3a 1n i3 d2 k1 D", Config::new(3, 1, 3).deaths(2, 1).detaching(), &[])
            .cut_at(2_000_000),
        case("2a 2n i3 d2 k1 D", Config::new(2, 2, 3).deaths(2, 1).detaching(), &[])
            .cut_at(2_000_000),
        holds("3a i3 d2", Config::new(3, 0, 3).deaths(2, 0), Effort::Long),
        holds("one bell 2a i2 d1 k1", Config::new(2, 0, 2).deaths(1, 1).one_bell(), Effort::Short),
        holds("one bell 2a i2 d2", Config::new(2, 0, 2).deaths(2, 0).one_bell(), Effort::Short),
        holds(
            "one bell 2a 1n i2 d1 k1 D",
            Config::new(2, 1, 2).deaths(1, 1).detaching().one_bell(),
            Effort::Long,
        ),
        holds("one bell 3a i3 d1", Config::new(3, 0, 3).deaths(1, 0).one_bell(), Effort::Long),
        holds("one bell stale proof D0", stale_proof().detach(&[0]).one_bell(), Effort::Small),
    ]
}

fn broken() -> Vec<Case> {
    let mut cases = attach_and_park();
    cases.extend(recovery());
    cases.extend(reserve());
    cases.extend(kept_by_argument());
    cases
}

/// Rules of attach, detach and park.
fn attach_and_park() -> Vec<Case> {
    use Broken::*;
    let c = Config::new;
    let fails = |name, config, rule, effort| case(name, config, &[rule]).effort(effort);
    let newcomer = c(1, 1, 2).deaths(1, 0);
    let two = c(2, 0, 2).deaths(1, 1);
    let detaching = c(3, 0, 3).deaths(1, 0).only(&[0], &[]).detach(&[1]).cell(&[]);
    vec![
        fails("1a 1n i2 d1", newcomer, ArmBeforeLock, Effort::Small),
        fails("1a 1n i2 d1", newcomer, ArmBeforeRoster, Effort::Small),
        fails("1a 1n i2 d1", newcomer, NoRosterWake, Effort::Small),
        fails(
            "1a 2n i2 d2",
            c(1, 2, 2).deaths(2, 0).only(&[1, 2], &[]),
            RosterWakeByRaiserOnly,
            Effort::Short,
        ),
        fails("2a i2 d1 k1 D", two.detaching(), UnlockBeforeWord, Effort::Small),
        fails("3a i3 d1 D1", detaching, NoRingBeforeDetach, Effort::Short),
        fails("3a i3 d1 D1", detaching, NoScanAfterWaking, Effort::Small),
        fails("2a i2 k1", c(2, 0, 2).deaths(0, 1).cell(&[]), NeverRearmed, Effort::Small),
        fails("2a i2 d1 k1", two, NoPrivateWake, Effort::Small),
        fails("2a i2 d1", c(2, 0, 2).deaths(1, 0), NoTimeout, Effort::Small),
        fails(
            "3a i3 d2 (T0, T2)",
            c(3, 0, 3).deaths(2, 0).only(&[0, 2], &[]).cell(&[]),
            AnyThreadWatchesPeers,
            Effort::Long,
        ),
        case("2a i2 d2 k1", c(2, 0, 2).deaths(2, 1), &[AnyThreadWatchesPeers, OwnWordWatched])
            .effort(Effort::Short),
    ]
}

/// Three attached, the first of them dead already: recovery begins at once.
fn one_dead() -> Config {
    Config::new(3, 0, 3).dead(1).cell(&[])
}

/// T0 lives, its keeper is dead, and T1 is about to claim it on an older proof.
fn stale_proof() -> Config {
    Config::new(3, 0, 3).stale_proof().cell(&[])
}

/// Rules of recovery.
fn recovery() -> Vec<Case> {
    use Broken::*;
    let c = Config::new;
    let fails = |name, config, rule, effort| case(name, config, &[rule]).effort(effort);
    let recoverer_dies = one_dead().deaths(1, 0).only(&[1], &[]);
    let stale_newcomer =
        Config { newcomers: 1, ..stale_proof().deaths(1, 0).only(&[0], &[]).detach(&[1]) };
    vec![
        fails("2a i2 d1 k1", c(2, 0, 2).deaths(1, 1), StampIsProof, Effort::Small),
        fails("stale proof", stale_proof(), NoSecondProof, Effort::Small),
        fails("stale proof D0", stale_proof().detach(&[0]), NoSecondLook, Effort::Small),
        fails(
            "stale proof d1 D1",
            stale_proof().deaths(1, 0).only(&[0], &[]).detach(&[1]),
            ClaimLeftStanding,
            Effort::Short,
        ),
        case("stale proof 1n d1 D1", stale_newcomer, &[]).effort(Effort::Long),
        fails("stale proof 1n d1 D1", stale_newcomer, NoGenerationAtDetach, Effort::Short),
        fails(
            "1 dead 2a i3 k1",
            one_dead().deaths(0, 1).only(&[], &[1]),
            ClaimantJudgedByWord,
            Effort::Small,
        ),
        fails(
            "1 dead 2a 1n i3 d1 D3",
            c(3, 1, 3).dead(1).cell(&[]).deaths(1, 0).only(&[1], &[]).detach(&[3]),
            ClaimWithoutGeneration,
            Effort::Short,
        ),
        fails("2a i2 d1", c(2, 0, 2).deaths(1, 0), FreeBeforeSweep, Effort::Small),
        fails("1 dead 2a i3 d1", recoverer_dies, NobodyRung, Effort::Small),
        fails("1 dead 2a i3 d1", recoverer_dies, NotRingingItself, Effort::Small),
        fails(
            "1 dead 2a i3 d1 k1",
            one_dead().deaths(1, 1).only(&[1], &[2]),
            OnlyArmedRung,
            Effort::Short,
        ),
        case("2a i2 k1", c(2, 0, 2).deaths(0, 1).cell(&[]), &[OwnerNotRung, NoPrivateWake]),
    ]
}

/// A newcomer finds every index dead: without a reserve, and with one.
fn reserve() -> Vec<Case> {
    use Broken::*;
    let all_die = Config::new(1, 1, 1).deaths(1, 0).only(&[0], &[]);
    let detaching = Config::new(1, 1, 1).deaths(2, 1).reserve().detaching();
    let two = Config::new(1, 2, 1).deaths(2, 0).reserve();
    let three = Config::new(2, 2, 2).dead(1).deaths(1, 0).reserve().cell(&[]);
    vec![
        case("1a 1n i1 d1, no reserve", all_die.all_get_in(), &[]).without("a reserve"),
        case("1a 1n i1+1 d1", all_die.reserve(), &[]),
        case("1a 1n i1+1 d2 k1 D", detaching, &[]).effort(Effort::Short),
        case("1a 1n i1+1 d2 k1 D", detaching, &[ReserveWithoutTimeout]).effort(Effort::Short),
        case("1a 2n i1+1 d2", two, &[]).effort(Effort::Short),
        case("1a 2n i1+1 d2 k1", Config { keeper_deaths: 1, ..two }, &[]).effort(Effort::Long),
        case("1 dead 1a 2n i2+1 d1 (T1)", three.only(&[1], &[]), &[]).effort(Effort::Long),
        case("1 dead 1a 2n i2+1 d1 (T2)", three.only(&[2], &[]), &[]).effort(Effort::Long),
        case("1 dead 1a 2n i2+1 d1", three, &[]).cut_at(4_000_000),
        case("1 dead 1a 2n i2+1 d1", three, &[ReserveTakenFromTheLiving]).effort(Effort::Short),
        case("1 dead 1a 2n i2+1 d1", three, &[ReserveWithoutGeneration]).effort(Effort::Short),
    ]
}

/// Rules without which nothing was found to fail: each is covered by another one.
fn kept_by_argument() -> Vec<Case> {
    use Broken::*;
    let c = Config::new;
    let kept = |name, config, rule| {
        case(name, config, &[rule]).expect(Expect::NotCaught).effort(Effort::Long)
    };
    let reused = c(3, 1, 3).dead(1).cell(&[]).deaths(1, 0).only(&[1], &[]).detach(&[3]);
    let recoverer_dies = one_dead().deaths(1, 0).only(&[1], &[]);
    vec![
        kept("2a i2 d2 k1", c(2, 0, 2).deaths(2, 1), OwnWordWatched),
        // Two of them do not need it, unless they watch their own words as well; three do.
        kept("2a i2 d2 k1", c(2, 0, 2).deaths(2, 1), AnyThreadWatchesPeers),
        kept("2a i2 d1 k1", c(2, 0, 2).deaths(1, 1), OwnerNotRung),
        kept(
            "stale proof d1 D1",
            stale_proof().deaths(1, 0).only(&[0], &[]).detach(&[1]),
            OwnerNotRung,
        ),
        kept("1 dead 2a i3 d1", recoverer_dies, GenerationAfterRing),
        kept("1 dead 2a 1n i3 d1 D3", reused, GenerationBeforeByte),
        kept("1 dead 2a 1n i3 d1 D3", reused, GenerationAfterRing),
    ]
}
