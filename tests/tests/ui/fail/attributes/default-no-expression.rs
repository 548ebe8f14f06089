//! A default is an expression.

use session_schema::SessionSchema;

#[derive(SessionSchema)]
struct Shop {
    #[session(default = let)]
    cart: Vec<String>,
}

fn main() {}
