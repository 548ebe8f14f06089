//! The names of all keys.

#![deny(warnings)]

use session_schema::{Flash, Key, SessionSchema, TypedSession};

#[derive(SessionSchema)]
#[session(prefix = "shop/", rename_all = "kebab-case")]
pub struct Shop {
    pub page_size: u32,
    #[session(key = "pageCount", flash)]
    pub page_count: u32,
    pub _hidden: u8,
}

const _: () = {
    assert!(Shop::PAGE_SIZE.name().len() == "shop/page-size".len());
    assert!(Shop::PAGE_COUNT.name().len() == "shop/pageCount".len());
};

pub const KEYS: (Key<Shop, u32>, Key<Shop, u32, Flash>, Key<Shop, u8>) =
    (Shop::PAGE_SIZE, Shop::PAGE_COUNT, Shop::_HIDDEN);

pub fn test(session: &TypedSession<Shop>) -> session_schema::Result<u8> {
    session.get__hidden()
}
