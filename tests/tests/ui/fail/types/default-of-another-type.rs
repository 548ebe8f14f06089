//! A default is of the field's type.

use session_schema::SessionSchema;

#[derive(SessionSchema)]
struct Shop {
    #[session(default = 20)]
    page_size: Option<u32>,
}

fn main() {}
