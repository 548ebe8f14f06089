//! A session has one owner.

use session_schema::SessionSchema;

#[derive(SessionSchema)]
struct Shop {
    #[session(owner)]
    user_id: Option<u64>,
    #[session(key = "admin", owner)]
    admin_id: Option<u64>,
}

fn main() {}
