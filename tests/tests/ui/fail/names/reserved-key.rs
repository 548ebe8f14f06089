//! Said in the attribute.

use session_schema::SessionSchema;

#[derive(SessionSchema)]
struct Shop {
    #[session(key = "_flash")]
    token: String,
}

fn main() {}
