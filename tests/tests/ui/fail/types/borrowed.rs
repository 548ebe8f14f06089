//! What would borrow from the stored text.

use session_schema::SessionSchema;

#[derive(SessionSchema)]
struct Shop {
    name: &'static str,
}

fn main() {}
