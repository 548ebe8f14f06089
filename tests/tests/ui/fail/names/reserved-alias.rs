//! An alias is read.

use session_schema::SessionSchema;

#[derive(SessionSchema)]
struct Shop {
    #[session(alias = "__old", alias = "_")]
    token: String,
}

fn main() {}
