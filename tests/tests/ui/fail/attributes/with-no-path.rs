//! A module is named by a path.

use session_schema::SessionSchema;

#[derive(SessionSchema)]
struct Shop {
    #[session(with = "not a path")]
    cart: Vec<String>,
}

fn main() {}
