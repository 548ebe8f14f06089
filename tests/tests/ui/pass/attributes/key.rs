//! A key of its own name.

#![deny(warnings)]

use session_schema::{Key, SessionSchema, TypedSession};

#[derive(SessionSchema)]
pub struct Shop {
    #[session(key = "basket of the visitor")]
    pub cart: Vec<String>,
}

pub const CART: Key<Shop, Vec<String>> = Shop::CART;
const _: () = assert!(Shop::CART.name().len() == 21);

pub fn test(session: &TypedSession<Shop>) -> session_schema::Result<()> {
    session.put_cart(vec![])?;
    Ok(())
}
