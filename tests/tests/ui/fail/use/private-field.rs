//! Keys and accessors are as visible as their fields.

use session_schema::TypedSession;

mod shop {
    #[derive(session_schema::SessionSchema)]
    pub struct Shop {
        pub cart: Vec<String>,
        views: u64,
    }
}

use shop::Shop;

fn test(session: &TypedSession<Shop>) {
    session.get(Shop::CART).unwrap();
    session.get_cart().unwrap();
    session.get(Shop::VIEWS).unwrap();
    session.get_views().unwrap();
}

fn main() {}
