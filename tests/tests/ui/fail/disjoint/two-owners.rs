//! A session has one owner.

use session_schema::{SessionSchema, assert_disjoint};

#[derive(SessionSchema)]
struct Shop {
    #[session(owner)]
    user_id: Option<u64>,
}

#[derive(SessionSchema)]
#[session(prefix = "admin.")]
struct Admin {
    #[session(owner)]
    user_id: Option<u64>,
}

assert_disjoint!(Shop, Admin);

fn main() {}
