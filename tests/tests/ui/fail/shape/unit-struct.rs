//! A struct without fields holds nothing.

use session_schema::SessionSchema;

#[derive(SessionSchema)]
struct Shop;

fn main() {}
