//! Lists are pushed to.

use session_schema::{SessionSchema, TypedSession};

#[derive(SessionSchema)]
struct Shop {
    user_id: Option<u64>,
    name: String,
    cart: Vec<String>,
    views: u64,
    #[session(flash)]
    notice: Option<String>,
}

#[derive(SessionSchema)]
struct Auth {
    realm: String,
}

fn test(session: &TypedSession<Shop>) {
    session.push(Shop::NAME, "x");
}

fn main() {}
