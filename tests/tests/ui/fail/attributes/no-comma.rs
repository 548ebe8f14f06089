//! Attributes are separated by commas.

use session_schema::SessionSchema;

#[derive(SessionSchema)]
struct Shop {
    #[session(owner key = "basket")]
    cart: Vec<String>,
}

fn main() {}
