//! An alias is a claim.

use session_schema::{SessionSchema, assert_disjoint};

#[derive(SessionSchema)]
struct Shop {
    #[session(alias = "auth.name")]
    name: String,
}

#[derive(SessionSchema)]
struct Cart {
    items: Vec<String>,
}

#[derive(SessionSchema)]
#[session(prefix = "auth.")]
struct Auth {
    name: String,
}

assert_disjoint!(Shop, Cart, Auth);

fn main() {}
