//! All errors of a struct are reported together, and nothing follows from them.

use session_schema::SessionSchema;

#[derive(SessionSchema)]
#[session(prefx = "shop.")]
struct Shop {
    #[session(owner = 1, key = 2)]
    user_id: Option<u64>,
    #[session(owner, flash = "always")]
    cart: Vec<String>,
    _hidden: u8,
    #[session(key = "name", alias = "_old")]
    first: String,
    #[session(key = "name")]
    second: String,
}

fn test(session: session_schema::TypedSession<Shop>) {
    session.get(Shop::CART).unwrap();
    session.get(Shop::SECOND).unwrap();
    session.put_first("Ann").unwrap();
}

fn main() {}
