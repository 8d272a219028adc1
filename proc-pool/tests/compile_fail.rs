//! What cannot cross to another process does not compile, and the compiler says what to do.

#[test]
fn what_cannot_cross_does_not_compile() {
    let tests = trybuild::TestCases::new();
    tests.compile_fail("tests/compile_fail/*.rs");
}
