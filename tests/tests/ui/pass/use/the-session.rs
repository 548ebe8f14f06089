//! What names no key, on the typed session itself.

#![deny(warnings)]

use session_schema::{Result, Session, SessionSchema, TypedSession};

/// Names that a method of the session or a part of the accessors could have.
#[derive(SessionSchema)]
pub struct Names {
    session: u8,
    id: u8,
    all: u8,
    key: u8,
    keys: u8,
    name: u8,
    token: u8,
    new: u8,
    get: u8,
    put: u8,
    flash: u8,
    value: u8,
    r#type: u8,
    r#move: u8,
    r#async: u8,
    #[session(key = "hidden")]
    __session: u8,
    a: u8,
    get_a: u8,
    #[session(flash)]
    keep: u8,
    größe: u8,
}

pub async fn test(session: TypedSession<Names>) -> Result<u8> {
    session.flush()?;
    session.reflash()?;
    session.regenerate()?;
    session.invalidate()?;
    session.regenerate_token()?;
    session.set_lifetime(std::time::Duration::from_secs(1))?;
    session.set_expiry(Some(session_schema::Expiry::At(session.expires_at())))?;
    let _: Option<session_schema::Expiry> = session.expiry();
    session.set_owner(None)?;
    let _: (String, bool, bool, bool) = (
        session.name(),
        session.is_new(),
        session.is_started(),
        session.is_read_only(),
    );
    session.start().await?;
    session.reload().await?;
    session.save().await?;
    let _: (String, session_schema::SessionId) = (session.token(), session.id());
    let dynamic: &Session = session.session();
    let other: TypedSession<Names> = dynamic.clone().into();
    let _: &Session = other.as_ref();
    session.put(Names::KEYS, 1)?;
    let _ = <Names as SessionSchema>::KEYS.len();
    let sum = session.get_type()? + session.get_move()? + session.get_async()? + session.get_session()?;
    session.get_all()?;
    session.get_get_a()?;
    session.keep_keep()?;
    session.get_größe()?;
    Ok(sum + session.get(Names::TYPE)?)
}
