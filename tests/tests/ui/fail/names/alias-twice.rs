//! Once.

use session_schema::SessionSchema;

#[derive(SessionSchema)]
struct Shop {
    #[session(alias = "old", alias = "old")]
    a: u8,
}

fn main() {}
