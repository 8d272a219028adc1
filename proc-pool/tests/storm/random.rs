//! Random programs against the reference.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::program::{Run, Step, Work};

/// Real processes, so few programs: enough that every step meets every other.
const PROGRAMS: u32 = 24;

fn work() -> impl Strategy<Value = Work> {
    prop_oneof![
        4 => Just(Work::Return),
        4 => (0..20_u8).prop_map(Work::Sleep),
        1 => Just(Work::Panic),
        1 => Just(Work::Die),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let submit = (work(), any::<bool>(), any::<u8>());
    prop_oneof![
        12 => submit.prop_map(|(work, pure, attempts)| Step::Submit { work, pure, attempts }),
        1 => (0..2000_u16).prop_map(Step::Map),
        2 => any::<u8>().prop_map(Step::Cancel),
        1 => any::<u8>().prop_map(Step::Kill),
        1 => any::<u8>().prop_map(Step::Resize),
        1 => any::<u8>().prop_map(Step::Wait),
    ]
}

#[proc_pool::test]
fn random_programs_give_every_task_the_outcome_that_its_policy_allows() {
    let config = Config { cases: PROGRAMS, failure_persistence: None, ..Config::default() };
    let programs = (1..4_usize, vec(step(), 1..60));
    let result = TestRunner::new(Config { max_shrink_iters: 64, ..config }).run(
        &programs,
        |(workers, steps)| {
            let mut run = Run::new(workers);
            steps
                .into_iter()
                .try_for_each(|step| run.step(step))
                .and_then(|()| run.finish())
                .map_err(TestCaseError::fail)
        },
    );
    result.unwrap_or_else(|failure| panic!("{failure}"));
}
