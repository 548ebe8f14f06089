//! What a value of another shape reads as.

#![deny(warnings)]

use session_schema::{Flash, Key, SessionSchema, TypedSession};

#[derive(SessionSchema)]
pub struct Shop {
    #[session(invalid = "default", default = 20)]
    pub page_size: u32,
    #[session(invalid = "error")]
    pub cart: Vec<String>,
    #[session(flash, invalid = "default")]
    pub notice: Option<String>,
}

pub const NOTICE: Key<Shop, Option<String>, Flash> = Shop::NOTICE;

pub fn test(session: &TypedSession<Shop>) -> session_schema::Result<u32> {
    session.get_page_size()
}
