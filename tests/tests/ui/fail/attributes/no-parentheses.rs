//! The attribute takes a list.

use session_schema::SessionSchema;

#[derive(SessionSchema)]
struct Shop {
    #[session]
    cart: Vec<String>,
}

fn main() {}
