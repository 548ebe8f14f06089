//! An attribute of the struct on a field.

use session_schema::SessionSchema;

#[derive(SessionSchema)]
struct Shop {
    #[session(prefix = "shop.")]
    cart: Vec<String>,
}

fn main() {}
