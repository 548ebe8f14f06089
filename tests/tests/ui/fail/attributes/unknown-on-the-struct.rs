//! An unknown attribute of the struct.

use session_schema::SessionSchema;

#[derive(SessionSchema)]
#[session(rename = "camelCase", ttl = 5)]
struct Shop {
    cart: Vec<String>,
}

fn main() {}
