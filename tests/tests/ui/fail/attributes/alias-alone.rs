//! So does an alias.

use session_schema::SessionSchema;

#[derive(SessionSchema)]
struct Shop {
    #[session(alias)]
    cart: Vec<String>,
}

fn main() {}
