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
        [rule] => case.without(rule),
        rules => case.without(rules),
    }
}

fn correct() -> Vec<Case> {
    let holds = |name, config, effort| case(name, config, &[]).effort(effort);
    vec![
        holds("2a i2 d1 k1", Config::new(2, 0, 2).deaths(1, 1), Effort::Small),
        holds("2a i2 d2", Config::new(2, 0, 2).deaths(2, 0), Effort::Short),
        holds("2a i2 d1 k1 D", Config::new(2, 0, 2).deaths(1, 1).detaching(), Effort::Short),
        holds("2a 1n i2 d2", Config::new(2, 1, 2).deaths(2, 0), Effort::Short),
        holds("2a 1n i2 d1 k1 D", Config::new(2, 1, 2).deaths(1, 1).detaching(), Effort::Long),
        holds("3a i3 d1", Config::new(3, 0, 3).deaths(1, 0), Effort::Long),
        holds("2a 1n i2 d2 k1", Config::new(2, 1, 2).deaths(2, 1), Effort::Long),
        holds("1a 2n i2 d1 k1", Config::new(1, 2, 2).deaths(1, 1), Effort::Long),
        holds("3a i3 d2", Config::new(3, 0, 3).deaths(2, 0), Effort::Long).expect(Expect::Cut),
    ]
}

fn broken() -> Vec<Case> {
    Vec::new()
}
