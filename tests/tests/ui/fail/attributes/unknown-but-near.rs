//! A slip of the pen gets a suggestion.

use session_schema::SessionSchema;

#[derive(SessionSchema)]
struct Shop {
    #[session(defualt = Vec::new())]
    cart: Vec<String>,
}

fn main() {}
