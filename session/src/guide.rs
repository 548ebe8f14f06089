//! Pages to read from beginning to end. They exist in the documentation only.

#[doc = include_str!("../docs/schema.md")]
pub mod schema {}
