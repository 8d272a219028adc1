//! The mutation matrix: each ordering of the heap's steps, and each statement of its recovery, is
//! needed by a model, or says why it is there.

use std::error::Error;

use crash_check::mutate::Mutations;

use super::MODELS;
use crate::models::matrix;

#[test]
fn loom_matrix_of_the_heap() -> Result<(), Box<dyn Error>> {
    let mut mutations = Mutations::new()
        .source("shm-core/src/heap/steps.rs", include_str!("../steps.rs"))
        .source("shm-core/src/heap/line.rs", include_str!("../line.rs"))
        .source("shm-core/src/heap/run.rs", include_str!("../run.rs"))
        .source("shm-core/src/heap/recover.rs", include_str!("../recover.rs"));
    for function in [
        "leave",
        "take_back_incoming",
        "leave_cell",
        "leave_entry",
        "free_unless_freed",
        "finish_incoming",
        "leave_span",
    ] {
        mutations = mutations.statements_of(function);
    }
    mutations = mutations.reason(
        "leave",
        "ground.intent(line).store(0",
        "dropped",
        "a recovery looks at the cell that the intent names only if the cell names the line, which it \
         does not any more: the next one's recovery is spared a look at memory that may be another's",
    );
    for &(name, model) in MODELS {
        mutations = mutations.model(name, model);
    }
    matrix::run(&mutations, "shm-core-heap", "Mutation matrix of shm-core: the heap")
}
