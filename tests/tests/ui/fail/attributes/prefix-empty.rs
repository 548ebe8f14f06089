//! A prefix of nothing.

use session_schema::SessionSchema;

#[derive(SessionSchema)]
#[session(prefix = "")]
struct Shop {
    cart: Vec<String>,
}

fn main() {}
