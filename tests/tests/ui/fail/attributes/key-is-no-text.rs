//! In quotes.

use session_schema::SessionSchema;

#[derive(SessionSchema)]
struct Shop {
    #[session(key = 5)]
    cart: Vec<String>,
}

fn main() {}
