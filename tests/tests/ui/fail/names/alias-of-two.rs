//! An old value goes to one field.

use session_schema::SessionSchema;

#[derive(SessionSchema)]
struct Shop {
    #[session(alias = "old")]
    a: u8,
    #[session(alias = "old")]
    b: u8,
}

fn main() {}
