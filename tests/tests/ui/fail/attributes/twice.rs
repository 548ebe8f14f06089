//! Even in two attributes.

use session_schema::SessionSchema;

#[derive(SessionSchema)]
struct Shop {
    #[session(key = "a")]
    #[session(owner, key = "b")]
    cart: Vec<String>,
}

fn main() {}
