//! A prefix is reported once, not for every field.

use session_schema::SessionSchema;

#[derive(SessionSchema)]
#[session(prefix = "_shop.")]
struct Shop {
    a: u8,
    b: u8,
}

fn main() {}
