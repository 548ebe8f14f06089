//! Two schemas with one key.

use session_schema::{SessionSchema, assert_disjoint};

#[derive(SessionSchema)]
struct Shop {
    cart: Vec<String>,
    user_id: Option<u64>,
}

#[derive(SessionSchema)]
struct Auth {
    user_id: Option<u64>,
}

assert_disjoint!(Shop, Auth);

fn main() {}
