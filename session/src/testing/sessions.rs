//! Sessions for unit tests.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::backend::{Backend, Found};
use crate::clock::SharedClock;
use crate::config::Settings;
use crate::driver::MemoryDriver;
use crate::error::Result;
use crate::schema::SessionSchema;
use crate::session::Session;
use crate::store::Store;
use crate::typed::TypedSession;

/// An empty session, loaded, over a store of its own: what the handler of a new visitor gets.
#[allow(clippy::missing_panics_doc, reason = "a test of this crate runs into both")]
pub fn session() -> Session {
    let settings = Settings {
        gc_interval: None,
        ..Settings::default()
    };
    let backend = Backend {
        cookie: settings
            .check()
            .expect("the settings that a layer has by itself are sound"),
        store: Arc::new(Store::new(Arc::new(MemoryDriver::new()))),
        namespace: settings.namespace(),
        settings,
        clock: SharedClock::default(),
    };
    let session = Session::by_hand(Arc::new(backend), None);
    session
        .begin(Found::Nothing)
        .expect("an empty session fits every change");
    session
}

/// The same with a schema. Values are put into it with its accessors or [`fill`](TypedSession::fill), and read from it afterwards.
///
/// ```
/// use session_schema::testing::{changes, next_request, typed_session};
/// use session_schema::{Result, SessionSchema, TypedSession};
///
/// #[derive(SessionSchema)]
/// struct Shop {
///     cart: Vec<String>,
///     #[session(flash)]
///     notice: Option<String>,
/// }
///
/// async fn add(session: TypedSession<Shop>) -> Result<()> {
///     session.push(Shop::CART, "tea")?;
///     session.flash_notice("Added to your cart")
/// }
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let session = typed_session::<Shop>();
/// session.put_cart(["milk".to_owned()].to_vec())?;
/// let session: TypedSession<Shop> = next_request(&session).await?.into();
///
/// add(session.clone()).await?;
///
/// assert_eq!(session.get_cart()?, ["milk", "tea"]);
/// let changes = changes(&session);
/// assert_eq!(changes.keys().collect::<Vec<_>>(), ["cart", "notice"]);
/// # session.save().await
/// # }).unwrap();
/// ```
pub fn typed_session<S: SessionSchema>() -> TypedSession<S> {
    session().into()
}

/// Saves the session and returns it as the visitor's next request finds it: flash is one request older.
///
/// # Errors
///
/// Those of [`Session::save`] and [`Session::start`].
pub async fn next_request(session: impl AsRef<Session>) -> Result<Session> {
    let session = session.as_ref();
    session.save().await?;
    let next = session.successor();
    next.start().await?;
    Ok(next)
}

/// What was changed and is not saved yet: each key with its new value, null where it was removed.
pub fn changes(session: impl AsRef<Session>) -> Map<String, Value> {
    session.as_ref().changed_values()
}
