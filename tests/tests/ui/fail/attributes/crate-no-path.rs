//! The crate is named by a path.

use session_schema::SessionSchema;

#[derive(SessionSchema)]
#[session(crate = "my-sessions")]
struct Shop {
    cart: Vec<String>,
}

fn main() {}
