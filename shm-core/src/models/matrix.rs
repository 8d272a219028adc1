//! The mutation matrix: each ordering and each statement of the turns is needed by a model, or says
//! why it is there.

use std::error::Error;

use crash_check::mutate::Mutations;

use super::MODELS;

#[test]
fn loom_matrix_of_the_turns() -> Result<(), Box<dyn Error>> {
    let mut mutations = Mutations::new().source("shm-core/src/turn.rs", include_str!("../turn.rs"));
    for function in ["set_count", "hand_over", "redeem", "recall"] {
        mutations = mutations.statements_of(function);
    }
    for &(name, model) in MODELS {
        mutations = mutations.model(name, model);
    }
    let matrix = mutations.run()?;
    println!("{}", matrix.text());
    if let Some(folder) = std::env::var_os("MUTATION_PAGES") {
        let page = std::path::Path::new(&folder).join("shm-core");
        std::fs::write(page.with_extension("txt"), matrix.text())?;
        std::fs::write(page.with_extension("html"), matrix.html("Mutation matrix of shm-core"))?;
    }
    matrix.check(0.1)?;
    Ok(())
}
