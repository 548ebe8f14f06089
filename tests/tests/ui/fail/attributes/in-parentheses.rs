//! Values are given with an equals sign.

use session_schema::SessionSchema;

#[derive(SessionSchema)]
struct Shop {
    #[session(key("basket"), alias("b"))]
    cart: Vec<String>,
}

fn main() {}
