//! What serde cannot read.

use session_schema::SessionSchema;

#[derive(Default, serde::Serialize)]
struct Item;

#[derive(SessionSchema)]
struct Shop {
    item: Item,
}

fn main() {}
