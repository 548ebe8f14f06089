//! Generated code compiles wherever a struct may stand, under every lint, and means the same there. That it compiles is the test;
//! clippy reads this file too.

#![no_implicit_prelude]
#![deny(
    warnings,
    missing_docs,
    rust_2018_idioms,
    unreachable_pub,
    unused,
    single_use_lifetimes,
    let_underscore_drop,
    clippy::all,
    clippy::pedantic,
    clippy::nursery
)]

extern crate session_schema as renamed;

use ::std::collections::HashMap;
use ::std::option::Option;
use ::std::string::String;
use ::std::vec::Vec;

/// Types that shadow what generated code might mean.
pub mod hostile {
    /// Not the session.
    #[derive(Debug)]
    pub struct Session;
    /// Not a result.
    #[derive(Debug)]
    pub struct Result;
    /// Not an option.
    #[derive(Debug)]
    pub struct Option;
    /// Not a text.
    #[derive(Debug)]
    pub struct String;
    /// Not the trait.
    #[derive(Debug)]
    pub struct Default;
    /// Not the trait.
    #[derive(Debug)]
    pub struct Debug;
    /// Not the trait.
    #[derive(Debug)]
    pub struct Into;
    /// Not the key.
    #[derive(Debug)]
    pub struct Key;
    /// Not the kind.
    #[derive(Debug)]
    pub struct Flash;
    /// Not the primitive type.
    #[derive(Debug)]
    #[allow(non_camel_case_types)]
    pub struct str;
    /// Not the primitive type.
    #[derive(Debug)]
    #[allow(non_camel_case_types)]
    pub struct bool;
    /// Not the constructor.
    #[allow(non_snake_case)]
    pub const fn Ok() {}
    /// Not the constructor.
    #[allow(non_snake_case)]
    pub const fn Err() {}
    /// Not the constructor.
    #[allow(non_snake_case)]
    pub const fn Some() {}
    /// A constant in the place of a binding.
    #[allow(non_upper_case_globals)]
    pub const value: u8 = 0;
    /// A constant in the place of a binding.
    #[allow(non_upper_case_globals)]
    pub const key: u8 = 0;
    /// A constant in the place of a binding.
    #[allow(non_upper_case_globals)]
    pub const session: u8 = 0;
    /// A constant in the place of a binding.
    #[allow(non_upper_case_globals)]
    pub const f: u8 = 0;
    /// A module in the place of a crate.
    pub mod core {}
    /// A module in the place of a crate.
    pub mod std {}
    /// A module in the place of a crate.
    pub mod serde {}
    /// A module in the place of the library.
    pub mod private {}
    /// A module in the place of the library.
    pub mod session_schema {}

    /// A schema among them.
    #[derive(::renamed::SessionSchema, ::std::fmt::Debug)]
    #[session(crate = "::renamed", prefix = "hostile.")]
    pub struct Shop {
        /// Of a type with a long name.
        #[session(alias = "users", owner)]
        pub users: ::std::option::Option<u64>,
        /// A text.
        #[session(default = "light", invalid = "default")]
        pub theme: ::std::string::String,
        /// A flash.
        #[session(flash = "until_read")]
        pub notice: ::std::option::Option<::std::string::String>,
        /// Written by a module.
        #[session(with = "super::number")]
        pub number: u8,
    }
}

/// Writes a number.
pub mod number {
    use ::serde::{Deserialize, Deserializer, Serializer};
    use ::std::result::Result;

    /// # Errors
    ///
    /// Those of the serializer.
    #[allow(clippy::trivially_copy_pass_by_ref)]
    pub fn serialize<S: Serializer>(value: &u8, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(*value)
    }

    /// # Errors
    ///
    /// Those of the deserializer.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
        u8::deserialize(deserializer)
    }
}

/// A type with a parameter.
#[derive(::std::fmt::Debug, ::serde::Serialize, ::serde::Deserialize)]
pub struct Pair<T>(pub T, pub T);

/// Types of every form.
#[derive(::session_schema::SessionSchema, ::std::fmt::Debug)]
pub struct Types {
    /// Nested.
    #[allow(clippy::type_complexity)]
    pub nested: Vec<HashMap<String, Option<Vec<(u8, Pair<[u8; 2]>)>>>>,
    /// An array.
    pub array: [(u8, bool); 3],
    /// A box of the schema itself would not end; one of something else does.
    pub boxed: ::std::boxed::Box<str>,
    /// Nothing.
    pub unit: (),
    /// A tuple of one.
    pub tuple: (Option<u8>,),
    /// Of a trait.
    pub bound: <Vec<u8> as ::std::borrow::ToOwned>::Owned,
    #[doc = "By attribute."]
    #[doc(alias = "name")]
    pub documented: u8,
    /// Kept for old sessions.
    #[deprecated(note = "nobody reads it")]
    pub old: u8,
    /// There in every build.
    #[cfg(not(any(windows, not(windows))))]
    pub gone: NoSuchType,
    /// There, by a condition.
    #[cfg(any(windows, not(windows)))]
    pub present: u8,
    /// There in no build of this.
    #[cfg(doctest)]
    pub absent: NoSuchType,
    /// There, with an attribute.
    #[cfg_attr(not(doctest), session(key = "other"))]
    pub configured: u8,
    /// A raw identifier.
    pub r#type: u8,
    /// Beside the one above.
    pub(crate) visible: u8,
    /// Of this module.
    private: u8,
}

/// A struct that holds itself.
#[derive(
    ::session_schema::SessionSchema,
    ::std::fmt::Debug,
    ::std::default::Default,
    ::serde::Serialize,
    ::serde::Deserialize,
)]
pub struct Tree {
    /// The branches.
    pub branches: Vec<Self>,
}

/// A schema of nothing.
#[derive(::session_schema::SessionSchema, ::std::fmt::Debug)]
pub struct Empty {}

#[allow(clippy::redundant_pub_crate)]
mod inner {
    /// No one uses it, and no one has to.
    #[derive(::session_schema::SessionSchema)]
    struct Unused {
        never: u8,
        #[session(flash)]
        read: u8,
    }

    /// Visible where its struct is.
    #[derive(::session_schema::SessionSchema)]
    pub(super) struct Visible {
        pub(super) one: Hidden,
        pub(in crate::inner) two: u8,
    }

    #[derive(::std::default::Default, ::serde::Serialize, ::serde::Deserialize)]
    pub(super) struct Hidden;
}

macro_rules! schema {
    ($name:ident, $ty:ty, $default:expr) => {
        /// A struct that a macro writes.
        #[derive(::session_schema::SessionSchema, ::std::fmt::Debug)]
        pub struct $name {
            /// Of the macro's type.
            #[session(default = $default)]
            pub field: $ty,
            /// Of the macro itself.
            pub own: Option<$ty>,
        }
    };
}

schema!(Written, Vec<u8>, ::std::vec![1, 2]);

/// Uses what was generated.
///
/// # Errors
///
/// Those of the session.
pub fn everything_is_reached(session: &::session_schema::Session) -> ::session_schema::Result<()> {
    use ::session_schema::{Result, TypedSession};
    use ::std::clone::Clone;
    use ::std::convert::Into;

    let types: TypedSession<Types> = session.clone().into();
    types.put_nested(::std::vec![HashMap::new()])?;
    types.get_type()?;
    types.get_configured()?;
    types.put(Types::PRESENT, 1)?;
    types.put_private(1)?;
    types.put_visible(1)?;
    let hostile: TypedSession<hostile::Shop> = session.clone().into();
    hostile.put_users(1)?;
    hostile.put_theme("dark")?;
    let visible: TypedSession<inner::Visible> = session.clone().into();
    visible.put_one(inner::Hidden)?;
    let written: TypedSession<Written> = session.clone().into();
    let same: Result<Written> = written.snapshot();
    written.fill(&same?)?;
    let tree: TypedSession<Tree> = session.clone().into();
    tree.put_branches(tree.snapshot()?.branches)?;
    let empty: TypedSession<Empty> = session.clone().into();
    empty.fill(&empty.snapshot()?)
}

#[test]
fn keys_are_what_the_struct_says_wherever_it_stands() {
    use ::session_schema::{KeyInfo, SessionSchema};
    use ::std::assert_eq;
    use ::std::iter::Iterator;

    let names: Vec<_> = Types::KEYS.iter().map(KeyInfo::name).collect();
    assert_eq!(
        names[6..12],
        ["documented", "old", "present", "other", "type", "visible"]
    );
    assert_eq!(
        Types::KEYS[0].rust_type(),
        "Vec<HashMap<String, Option<Vec<(u8, Pair<[u8; 2]>)>>>>"
    );
    assert_eq!(Types::KEYS[6].doc(), "By attribute.");
    assert_eq!(hostile::Shop::KEYS[0].name(), "hostile.users");
    assert_eq!(Written::KEYS[0].rust_type(), "Vec<u8>");
}
