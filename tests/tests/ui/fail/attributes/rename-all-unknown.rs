//! The rules are those of serde.

use session_schema::SessionSchema;

#[derive(SessionSchema)]
#[session(rename_all = "camel")]
struct Shop {
    cart: Vec<String>,
}

fn main() {}
