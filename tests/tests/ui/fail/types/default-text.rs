//! Text stands for what is made from text.

use session_schema::SessionSchema;

#[derive(SessionSchema)]
struct Shop {
    #[session(default = "20")]
    page_size: u32,
}

fn main() {}
