//! Both kinds of flash.

#![deny(warnings)]

use session_schema::{Flash, Key, SessionSchema, TypedSession};

#[derive(SessionSchema)]
pub struct Shop {
    #[session(flash)]
    pub notice: Option<String>,
    #[session(flash = "until_read")]
    pub warnings: Vec<String>,
}

pub const KEYS: (Key<Shop, Option<String>, Flash>, Key<Shop, Vec<String>, Flash>) = (Shop::NOTICE, Shop::WARNINGS);

pub fn test(session: &TypedSession<Shop>) -> session_schema::Result<Option<String>> {
    session.flash_notice("hello")?;
    session.now_notice("hello")?;
    session.keep_notice()?;
    session.pull_notice()?;
    session.flash(Shop::WARNINGS, &vec![])?;
    session.now(Shop::WARNINGS, vec![])?;
    session.keep(Shop::WARNINGS)?;
    session.forget(Shop::WARNINGS)?;
    session.pull(Shop::WARNINGS)?;
    session.get_notice()
}
