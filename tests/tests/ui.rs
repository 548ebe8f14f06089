//! What does not compile, with the words the compiler says, and what does.
//!
//! After a change of a message, look at it and run with `TRYBUILD=overwrite`.

#[test]
fn misuse_is_refused_in_plain_words() {
    trybuild::TestCases::new().compile_fail("tests/ui/fail/*/*.rs");
}

#[test]
fn every_use_compiles() {
    trybuild::TestCases::new().pass("tests/ui/pass/*/*.rs");
}
