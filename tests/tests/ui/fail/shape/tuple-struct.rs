//! Fields without names are no keys.

use session_schema::SessionSchema;

#[derive(SessionSchema)]
struct Shop(Option<u64>, Vec<String>);

fn main() {}
