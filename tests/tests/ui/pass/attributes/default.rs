//! Defaults of every form.

#![deny(warnings)]

use session_schema::{Flash, Key, SessionSchema, TypedSession};

const SIZE: u32 = 20;

#[derive(SessionSchema)]
pub struct Shop {
    #[session(default)]
    pub views: u64,
    #[session(default = SIZE * 2)]
    pub page_size: u32,
    #[session(default = "light")]
    pub theme: String,
    #[session(default = vec![(1, "a".to_owned())])]
    pub list: Vec<(u8, String)>,
    #[session(default = Some(-1.5))]
    pub ratio: Option<f64>,
    #[session(default = std::collections::HashMap::<u8, u8>::new())]
    pub map: std::collections::HashMap<u8, u8>,
    #[session(default = { let n = 3; std::num::NonZeroU8::new(n).unwrap() })]
    pub no_default: std::num::NonZeroU8,
    #[session(flash, default = "nothing")]
    pub notice: String,
}

pub fn test(session: &TypedSession<Shop>) -> session_schema::Result<u32> {
    let _: String = session.get(Shop::NOTICE)?;
    let _: Key<Shop, String, Flash> = Shop::NOTICE;
    session.get_page_size()
}
