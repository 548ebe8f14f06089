//! A default is made when it is needed, so it cannot capture.

use session_schema::SessionSchema;

fn main() {
    let size = 20;

    #[derive(SessionSchema)]
    struct Shop {
        #[session(default = size)]
        page_size: u32,
    }
}
