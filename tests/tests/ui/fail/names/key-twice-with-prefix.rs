//! With the prefix, which goes before `key` too.

use session_schema::SessionSchema;

#[derive(SessionSchema)]
#[session(prefix = "shop.")]
struct Shop {
    #[session(key = "b")]
    a: u8,
    b: u8,
}

fn main() {}
