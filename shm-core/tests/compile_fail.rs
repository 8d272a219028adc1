//! Types that cannot lie in shared memory do not compile, and the compiler says what to do.

#[test]
fn what_can_not_be_shared_does_not_compile() {
    let tests = trybuild::TestCases::new();
    tests.compile_fail("tests/compile_fail/*.rs");
    tests.pass("tests/compile_pass/*.rs");
}
