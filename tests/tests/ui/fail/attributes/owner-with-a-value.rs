//! An owner is one or is not.

use session_schema::SessionSchema;

#[derive(SessionSchema)]
struct Shop {
    #[session(owner = true)]
    cart: Vec<String>,
}

fn main() {}
