//! There are two kinds of flash.

use session_schema::SessionSchema;

#[derive(SessionSchema)]
struct Shop {
    #[session(flash = "forever")]
    cart: Vec<String>,
}

fn main() {}
