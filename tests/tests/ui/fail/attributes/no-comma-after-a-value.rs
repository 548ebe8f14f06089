//! After a value too.

use session_schema::SessionSchema;

#[derive(SessionSchema)]
struct Shop {
    #[session(key = "basket" owner)]
    cart: Vec<String>,
}

fn main() {}
