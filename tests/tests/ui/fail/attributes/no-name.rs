//! A value without a name.

use session_schema::SessionSchema;

#[derive(SessionSchema)]
struct Shop {
    #[session("basket")]
    cart: Vec<String>,
}

fn main() {}
