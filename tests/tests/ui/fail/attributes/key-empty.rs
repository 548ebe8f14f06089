//! Of one letter at least.

use session_schema::SessionSchema;

#[derive(SessionSchema)]
struct Shop {
    #[session(key = "")]
    cart: Vec<String>,
}

fn main() {}
