//! The key itself is no alias.

use session_schema::SessionSchema;

#[derive(SessionSchema)]
struct Shop {
    #[session(alias = "a")]
    a: u8,
}

fn main() {}
