//! The constants are in upper case.

use session_schema::SessionSchema;

#[derive(SessionSchema)]
struct Shop {
    #[allow(non_snake_case)]
    userId: u8,
    userid: u8,
}

fn main() {}
