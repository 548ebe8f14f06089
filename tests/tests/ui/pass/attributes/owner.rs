//! An owner of any type that is written as text or a number.

#![deny(warnings)]

use session_schema::{Key, SessionSchema, TypedSession};

#[derive(Clone, Copy, serde::Serialize, serde::Deserialize)]
pub struct UserId(u64);

#[derive(SessionSchema)]
pub struct Shop {
    #[session(owner)]
    pub user_id: Option<UserId>,
}

pub fn test(session: &TypedSession<Shop>) -> session_schema::Result<Key<Shop, Option<UserId>>> {
    session.put_user_id(UserId(1))?;
    Ok(Shop::USER_ID)
}
