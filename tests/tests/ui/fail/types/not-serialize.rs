//! What serde cannot write, at the field, once.

use session_schema::SessionSchema;

#[derive(Default, serde::Deserialize)]
struct Item;

#[derive(SessionSchema)]
struct Shop {
    cart: Vec<Item>,
}

fn main() {}
