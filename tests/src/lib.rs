//! What the tests share.

pub mod counted;
