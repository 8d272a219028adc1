//! Only a crate's shim knows that loom exists; the algorithms import from it.

use super::Finding;
use super::lexer::{Source, has_word};

/// Finds code that mentions loom outside of `primitive.rs`, of tests and of the kit's own part.
pub fn check(source: &Source) -> Vec<Finding> {
    let is_shim = source.path.file_name().is_some_and(|name| name == "primitive.rs");
    let is_kit = source.path.starts_with("crash-check/src/death");
    let is_automation = source.path.starts_with("xtask");
    if is_shim || is_kit || is_automation {
        return Vec::new();
    }
    let mentions = source.shipped_code().filter(|(_, line)| {
        // Layout assertions stand under `cfg(not(loom))`: a loom atomic has another size.
        has_word(&line.replace("cfg(not(loom))", ""), "loom")
    });
    let what = "loom outside of `primitive.rs`: import from the shim, which alone knows of it";
    mentions.map(|(index, _)| Finding::new(&source.path, index + 1, what)).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn count(path: &str, text: &str) -> usize {
        check(&Source::new(Path::new(path), text)).len()
    }

    #[test]
    fn an_algorithm_does_not_mention_loom() {
        assert_eq!(count("a/src/ring.rs", "use loom::sync::Arc;\n"), 1);
        assert_eq!(count("a/src/ring.rs", "#[cfg(loom)]\nfn a() {}\n"), 1);
    }

    #[test]
    fn the_shim_tests_and_layout_assertions_may() {
        assert_eq!(count("a/src/primitive.rs", "use loom::sync::Arc;\n"), 0);
        assert_eq!(count("crash-check/src/death/mod.rs", "use loom::sync::Arc;\n"), 0);
        assert_eq!(count("a/src/ring.rs", "#[cfg(not(loom))]\nconst _: () = ();\n"), 0);
        assert_eq!(count("a/src/ring.rs", "#[cfg(all(test, loom))]\nmod loom_ring;\n"), 0);
        assert_eq!(count("a/src/ring.rs", "// loom sees this\n"), 0);
    }
}
