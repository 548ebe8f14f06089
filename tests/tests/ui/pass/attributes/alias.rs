//! Several former names, beside a prefix.

#![deny(warnings)]

use session_schema::{Key, SessionSchema, TypedSession};

#[derive(SessionSchema)]
#[session(prefix = "shop.")]
pub struct Shop {
    #[session(alias = "cart", alias = "basket")]
    pub cart: Vec<String>,
}

pub const CART: Key<Shop, Vec<String>> = Shop::CART;

pub fn test(session: &TypedSession<Shop>) -> session_schema::Result<Vec<String>> {
    session.push(CART, "a book")?;
    session.get(CART)
}
