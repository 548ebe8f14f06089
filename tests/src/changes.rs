//! Every way to change a session: one list, for all tests that say "every change".

use std::time::Duration;

use serde_json::json;
use session_schema::{Expiry, Result, Session, SessionSchema, TypedSession};

/// What a handler does to its session.
pub type Change = fn(&Session) -> Result<()>;

/// What the typed changes change.
#[derive(SessionSchema)]
struct Visitor {
    user: Option<u32>,
    visits: u32,
    list: Vec<u32>,
    #[session(flash)]
    notice: Option<String>,
}

fn typed(session: &Session) -> TypedSession<Visitor> {
    session.clone().into()
}

/// Every method of [`Session`] that changes it, by name, also where it would change nothing in a session that says `"user": 7`.
pub const CHANGES: &[(&str, Change)] = &[
    ("put", |session| session.put("a", 1)),
    ("put of an equal value", |session| session.put("user", 7)),
    ("pull", |session| session.pull::<u32>("user").map(drop)),
    ("pull of nothing", |session| session.pull::<u32>("a").map(drop)),
    ("pull_or", |session| session.pull_or("a", 1).map(drop)),
    ("forget", |session| session.forget(["user"])),
    ("forget of an absent key", |session| session.forget(["a"])),
    ("forget of no key", |session| session.forget([""; 0])),
    ("flush", Session::flush),
    ("replace", |session| session.replace(Default::default())),
    ("merge", |session| {
        session.merge(json!({"a": 1}).as_object().unwrap().clone())
    }),
    ("merge of nothing", |session| session.merge(Default::default())),
    ("remember", |session| session.remember("a", || 1).map(drop)),
    ("increment", |session| session.increment("a", 1).map(drop)),
    ("increment by nothing", |session| session.increment("a", 0).map(drop)),
    ("decrement", |session| session.decrement("a", 1).map(drop)),
    ("push", |session| session.push("a", 1)),
    ("update", |session| session.update::<u32>("a", |a| *a += 1)),
    ("update to an equal value", |session| {
        session.update::<u32>("user", |_| ())
    }),
    ("flash", |session| session.flash("a", 1)),
    ("now", |session| session.now("a", 1)),
    ("reflash", Session::reflash),
    ("keep", |session| session.keep(["a"])),
    ("regenerate_token", Session::regenerate_token),
    ("regenerate", Session::regenerate),
    ("invalidate", Session::invalidate),
    ("set_lifetime", |session| session.set_lifetime(Duration::from_secs(1))),
    ("set_expiry", |session| session.set_expiry(Some(Expiry::OnClose))),
    ("set_expiry to the layer's", |session| session.set_expiry(None)),
    ("set_owner", |session| session.set_owner(Some("ann"))),
    ("set_owner to nobody", |session| session.set_owner(None)),
];

/// The same for [`TypedSession`], and the accessors that it has for its fields.
pub const TYPED_CHANGES: &[(&str, Change)] = &[
    ("put", |session| typed(session).put(Visitor::USER, 8)),
    ("put of an equal value", |session| typed(session).put(Visitor::USER, 7)),
    ("pull", |session| typed(session).pull(Visitor::USER).map(drop)),
    ("forget", |session| typed(session).forget(Visitor::USER)),
    ("forget of an absent key", |session| {
        typed(session).forget(Visitor::LIST)
    }),
    ("remember", |session| {
        typed(session).remember(Visitor::LIST, || vec![1]).map(drop)
    }),
    ("increment", |session| {
        typed(session).increment(Visitor::VISITS, 1).map(drop)
    }),
    ("decrement", |session| {
        typed(session).decrement(Visitor::VISITS, 0).map(drop)
    }),
    ("push", |session| typed(session).push(Visitor::LIST, 1)),
    ("update", |session| {
        typed(session).update(Visitor::LIST, |list| list.push(1))
    }),
    ("flash", |session| typed(session).flash(Visitor::NOTICE, "hello")),
    ("now", |session| typed(session).now(Visitor::NOTICE, "hello")),
    ("keep", |session| typed(session).keep(Visitor::NOTICE)),
    ("fill", |session| typed(session).fill(&typed(session).snapshot()?)),
    ("flush", |session| typed(session).flush()),
    ("reflash", |session| typed(session).reflash()),
    ("regenerate", |session| typed(session).regenerate()),
    ("invalidate", |session| typed(session).invalidate()),
    ("regenerate_token", |session| typed(session).regenerate_token()),
    ("set_lifetime", |session| {
        typed(session).set_lifetime(Duration::from_secs(1))
    }),
    ("set_expiry", |session| typed(session).set_expiry(None)),
    ("set_owner", |session| typed(session).set_owner(Some("ann"))),
];

/// The same for the accessors of a field and of a flash field.
pub const ACCESSOR_CHANGES: &[(&str, Change)] = &[
    ("put_user", |session| typed(session).put_user(8)),
    ("pull_user", |session| typed(session).pull_user().map(drop)),
    ("flash_user", |session| typed(session).flash_user(8)),
    ("flash_notice", |session| typed(session).flash_notice("hello")),
    ("now_notice", |session| typed(session).now_notice("hello")),
    ("keep_notice", |session| typed(session).keep_notice()),
    ("pull_notice", |session| typed(session).pull_notice().map(drop)),
];

/// All of them.
pub fn all_changes() -> impl Iterator<Item = (&'static str, Change)> {
    [CHANGES, TYPED_CHANGES, ACCESSOR_CHANGES].concat().into_iter()
}
