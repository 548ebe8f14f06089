//! The library under another name, relative to the struct.

#![deny(warnings)]

use session_schema::{Flash, Key, SessionSchema, TypedSession};

mod facade {
    pub use session_schema as sessions;
}

mod inner {
    use super::facade;

    #[derive(super::SessionSchema)]
    #[session(crate = "facade::sessions")]
    pub struct Shop {
        #[session(flash)]
        pub notice: Option<String>,
    }
}

pub const NOTICE: Key<inner::Shop, Option<String>, Flash> = inner::Shop::NOTICE;

pub fn test(session: &TypedSession<inner::Shop>) -> session_schema::Result<Option<String>> {
    session.get_notice()
}
