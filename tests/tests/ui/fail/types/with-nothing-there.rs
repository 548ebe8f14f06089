//! The module has to be there, with both functions.

use session_schema::SessionSchema;

mod half {
    pub fn serialize<S: serde::Serializer>(value: &u8, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(*value)
    }
}

#[derive(SessionSchema)]
struct Shop {
    #[session(with = "half")]
    one: u8,
    #[session(with = "none")]
    two: u8,
}

fn main() {}
