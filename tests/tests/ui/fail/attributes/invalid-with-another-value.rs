//! What cannot be read is an error or the default.

use session_schema::SessionSchema;

#[derive(SessionSchema)]
struct Shop {
    #[session(invalid = "ignore")]
    cart: Vec<String>,
}

fn main() {}
