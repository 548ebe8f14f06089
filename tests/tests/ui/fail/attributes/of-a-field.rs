//! An attribute of a field on the struct.

use session_schema::SessionSchema;

#[derive(SessionSchema)]
#[session(flash)]
struct Shop {
    cart: Vec<String>,
}

fn main() {}
