//! Setters take what fits the field without saying so, and literals need no suffix.

#![deny(warnings)]

use session_schema::{Key, Result, SessionSchema, TypedSession};

#[derive(serde::Serialize, serde::Deserialize)]
pub struct NotClone;

#[derive(SessionSchema)]
pub struct Shop {
    user_id: Option<u64>,
    name: String,
    nickname: Option<String>,
    cart: Vec<NotClone>,
    saved: Option<Vec<NotClone>>,
    ratio: f32,
    views: u8,
    lines: Vec<String>,
    nested: Option<Option<bool>>,
}

pub fn test(session: &TypedSession<Shop>, item: NotClone) -> Result<i64> {
    let cart = vec![NotClone];
    session.put_user_id(42)?;
    session.put_user_id(Some(42))?;
    session.put_user_id(None)?;
    session.put_user_id(&None)?;
    session.put_user_id(&42)?;
    session.put_nickname(None::<&str>)?;
    session.put_name("Ann")?;
    session.put_name(&String::new())?;
    session.put_name(format!("{}", 1))?;
    session.put_nickname("Ann")?;
    session.put_nickname(&String::new())?;
    session.put_nickname(String::new())?;
    session.put_nickname(Some("Ann"))?;
    session.put_nickname(Some(String::new()))?;
    session.put_nickname(None::<String>)?;
    session.put_cart(&cart)?;
    session.put_cart(cart)?;
    session.put_cart(vec![])?;
    session.put_cart(Vec::new())?;
    session.put_saved(vec![])?;
    session.put_saved(None)?;
    session.put_ratio(0.5)?;
    session.put_views(1)?;
    session.put_nested(Some(true))?;
    session.put(Shop::VIEWS, 1)?;
    session.put(Shop::NAME, "Ann")?;
    session.flash(Shop::NICKNAME, "Ann")?;
    session.flash_cart(vec![NotClone])?;
    session.push(Shop::CART, item)?;
    session.push(Shop::CART, &NotClone)?;
    session.push(Shop::LINES, "text")?;
    session.update(Shop::CART, |cart| cart.truncate(1))?;
    session.update(Shop::NAME, move |name| name.push('!'))?;
    session.remember(Shop::VIEWS, || 5)?;
    session.remember(Shop::USER_ID, || None)?;
    let all = Shop {
        user_id: None,
        name: String::new(),
        nickname: None,
        cart: vec![],
        saved: None,
        ratio: 0.0,
        views: 0,
        lines: vec![],
        nested: None,
    };
    session.fill(&all)?;
    let back: Shop = session.snapshot()?;
    session.fill(&back)?;
    session.decrement(Shop::VIEWS, 1)?;
    session.increment(Shop::VIEWS, 1)
}

/// Code over any schema and any key.
pub fn over_any<S: SessionSchema, V: 'static>(session: &TypedSession<S>, key: Key<S, V>) -> Result<V> {
    let value = session.get(key)?;
    session.put(key, &value)?;
    session.session().has(key.name());
    Ok(value)
}
