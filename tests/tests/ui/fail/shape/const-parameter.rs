//! Of any kind.

use session_schema::SessionSchema;

#[derive(SessionSchema)]
struct Shop<const N: usize> {
    cart: [u8; N],
}

fn main() {}
