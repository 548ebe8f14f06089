//! What a session holds, said once: [`SessionSchema`], its [`Key`]s, and what may be stored under them.
//!
//! Everything here is written by `#[derive(SessionSchema)]` and used through [`TypedSession`](crate::TypedSession). The guide
//! "Designing a session schema" in the crate documentation shows how.

mod disjoint;
mod field;
mod info;
mod key;
mod value;

pub use disjoint::assert_disjoint;
pub use field::{Field, Fill, Source};
pub use info::{KeyInfo, KeyKind};
pub use key::{Data, DataKeyOf, Flash, Key, KeyOf, Kind};
pub use value::{Integer, List, StoreAs};

use crate::error::Result;
use crate::session::Session;

/// A struct whose fields are the keys of a session. Derive it; see the [derive macro](derive@crate::SessionSchema).
///
/// # Tools
///
/// [`KEYS`](SessionSchema::KEYS) is the schema as data, for documentation, checks and migrations:
///
/// ```
/// use session_schema::{KeyKind, SessionSchema};
///
/// #[derive(SessionSchema)]
/// struct Shop {
///     /// The signed-in customer.
///     #[session(owner, alias = "uid")]
///     user_id: Option<u64>,
///     #[session(flash)]
///     notice: Option<String>,
/// }
///
/// let [user, notice] = Shop::KEYS else { panic!() };
/// assert_eq!((user.name(), user.rust_type(), user.doc()), ("user_id", "Option<u64>", "The signed-in customer."));
/// assert_eq!(user.aliases(), ["uid"]);
/// assert_eq!(notice.kind(), KeyKind::Flash);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a session schema",
    label = "not a session schema",
    note = "write `#[derive(SessionSchema)]` above the struct that says what the session holds"
)]
pub trait SessionSchema: Sized + 'static {
    /// The struct's name.
    const NAME: &'static str;

    /// Every key, in the order of the fields.
    const KEYS: &'static [KeyInfo];

    /// What [`TypedSession`](crate::TypedSession) dereferences to: `ShopAccessors` for a struct `Shop`.
    #[doc(hidden)]
    type Accessors: Accessors;

    /// Reads every field.
    #[doc(hidden)]
    fn read(source: Source<'_>) -> Result<Self>;

    /// Encodes every field.
    #[doc(hidden)]
    fn write(&self, fill: &mut Fill) -> Result<()>;
}

/// A generated struct of accessors: a session, and a method for each thing that can be done with a field.
#[doc(hidden)]
pub trait Accessors: Send + Sync + 'static {
    fn new(session: Session) -> Self;

    fn session(&self) -> &Session;
}
