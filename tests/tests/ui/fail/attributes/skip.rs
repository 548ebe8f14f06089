//! Every field is a key.

use session_schema::SessionSchema;

#[derive(SessionSchema)]
struct Shop {
    #[session(skip)]
    cart: Vec<String>,
}

fn main() {}
