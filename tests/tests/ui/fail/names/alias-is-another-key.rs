//! An alias is looked up like a key.

use session_schema::SessionSchema;

#[derive(SessionSchema)]
#[session(prefix = "shop.")]
struct Shop {
    a: u8,
    #[session(alias = "shop.a")]
    b: u8,
    #[session(alias = "a")]
    c: u8,
}

fn main() {}
