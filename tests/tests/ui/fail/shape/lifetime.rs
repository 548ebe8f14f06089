//! A schema owns what it holds.

use session_schema::SessionSchema;

#[derive(SessionSchema)]
struct Shop<'a> {
    name: &'a str,
}

fn main() {}
