//! Nor has a union.

use session_schema::SessionSchema;

#[derive(SessionSchema)]
union Shop {
    views: u64,
    id: i64,
}

fn main() {}
