//! Two fields cannot share a key.

use session_schema::SessionSchema;

#[derive(SessionSchema)]
struct Shop {
    basket: Vec<String>,
    #[session(key = "basket")]
    cart: Vec<String>,
}

fn main() {}
