//! What they hold.

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
    session.push(Shop::CART, 5_u8);
}

fn main() {}
