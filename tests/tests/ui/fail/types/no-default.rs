//! An absent key has to be something.

use session_schema::SessionSchema;

#[derive(serde::Serialize, serde::Deserialize)]
struct Item;

#[derive(SessionSchema)]
struct Shop {
    item: Item,
}

fn main() {}
