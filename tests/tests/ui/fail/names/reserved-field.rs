//! Keys that begin with `_` are the library's.

use session_schema::SessionSchema;

#[derive(SessionSchema)]
struct Shop {
    _token: String,
}

fn main() {}
