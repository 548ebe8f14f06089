//! A struct is a schema by deriving it.

use session_schema::TypedSession;

struct Shop {
    views: u64,
}

fn test(session: TypedSession<Shop>) {
}

fn main() {}
