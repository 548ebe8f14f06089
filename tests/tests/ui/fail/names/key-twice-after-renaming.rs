//! However it came about.

use session_schema::SessionSchema;

#[derive(SessionSchema)]
#[session(rename_all = "camelCase")]
struct Shop {
    #[session(key = "shopId")]
    first: u8,
    shop_id: u8,
}

fn main() {}
