//! Which of the two has to be said.

use session_schema::SessionSchema;

#[derive(SessionSchema)]
struct Shop {
    #[session(invalid)]
    cart: Vec<String>,
}

fn main() {}
