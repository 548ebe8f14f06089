//! And so does what serde calls it.

use session_schema::SessionSchema;

#[derive(SessionSchema)]
struct Shop {
    #[session(rename = "basket")]
    cart: Vec<String>,
}

fn main() {}
