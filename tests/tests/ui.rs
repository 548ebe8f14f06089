//! What does not compile, with the words the compiler says, and what does.
//!
//! After a change of a message, look at it and run with `TRYBUILD=overwrite`.

#[test]
fn misuse_is_refused_in_plain_words() {
    trybuild::TestCases::new().compile_fail("tests/ui/fail/*/*.rs");
}

/// What compiles, without a warning. It is compiled here and not as cases of `trybuild`, which would build every dependency
/// a second time, and link and run each case.
#[allow(
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    clippy::all,
    clippy::missing_errors_doc,
    reason = "a user of the library need not have the lints of this workspace"
)]
#[path = "ui/pass"]
pub mod pass {
    pub mod attributes {
        pub mod alias;
        #[path = "crate.rs"]
        pub mod crate_path;
        pub mod default;
        pub mod flash;
        pub mod invalid;
        pub mod key;
        pub mod owner;
        #[path = "prefix-and-rename-all.rs"]
        pub mod prefix_and_rename_all;
        pub mod with;
    }
    pub mod r#use {
        pub mod setters;
        #[path = "the-session.rs"]
        pub mod the_session;
    }
}
