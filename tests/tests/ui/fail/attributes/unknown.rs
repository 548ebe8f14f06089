//! What is far from every attribute gets the list.

use session_schema::SessionSchema;

#[derive(SessionSchema)]
struct Shop {
    #[session(encrypted)]
    cart: Vec<String>,
}

fn main() {}
