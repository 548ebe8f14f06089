//! A module that writes what serde does not know.

#![deny(warnings)]

use session_schema::{Flash, Key, SessionSchema, TypedSession};

/// Nothing of it can be written or made.
pub struct Foreign(u8);

mod foreign {
    pub mod as_number {
        use super::super::Foreign;
        use serde::{Deserialize, Deserializer, Serializer};

        pub fn serialize<S: Serializer>(value: &Foreign, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_u8(value.0)
        }

        pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Foreign, D::Error> {
            u8::deserialize(deserializer).map(Foreign)
        }
    }
}

#[derive(SessionSchema)]
pub struct Shop {
    #[session(with = "foreign::as_number", default = Foreign(1))]
    pub data: Foreign,
    #[session(flash, with = "crate::pass::attributes::with::foreign::as_number", default = Foreign(2))]
    pub flash: Foreign,
}

pub const FLASH: Key<Shop, Foreign, Flash> = Shop::FLASH;

pub fn test(session: &TypedSession<Shop>) -> session_schema::Result<Foreign> {
    session.put_data(Foreign(1))?;
    session.update(Shop::DATA, |data| data.0 += 1)?;
    session.get_data()
}
