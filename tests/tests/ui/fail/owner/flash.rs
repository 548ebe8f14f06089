//! An owner is not for one request.

use session_schema::SessionSchema;

#[derive(SessionSchema)]
struct Shop {
    #[session(flash, owner)]
    user_id: Option<u64>,
}

fn main() {}
