//! An enum has no fields that could be keys.

use session_schema::SessionSchema;

#[derive(SessionSchema)]
enum Shop {
    Open,
    Closed,
}

fn main() {}
