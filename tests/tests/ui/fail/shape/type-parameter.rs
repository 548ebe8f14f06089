//! Keys are constants.

use session_schema::SessionSchema;

#[derive(SessionSchema)]
struct Shop<T> {
    cart: Vec<T>,
}

fn main() {}
