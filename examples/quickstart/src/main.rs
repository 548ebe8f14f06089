//! Counts visits, greets by name, keeps a cart and shows a notice once: sessions in files. See the README.

use axum::extract::Form;
use axum::response::Redirect;
use axum::routing::{get, post};
use axum::{Router, serve};
use serde::Deserialize;
use session_schema::{FileDriver, Result, SessionLayer, SessionSchema, TypedSession};
use tokio::net::TcpListener;

/// What the session of a visitor holds.
#[derive(SessionSchema)]
struct Visitor {
    /// How many pages the visitor has seen.
    visits: u64,
    /// What the visitor wants to be called.
    name: Option<String>,
    /// What the visitor has put into the cart.
    cart: Vec<String>,
    /// Shown once.
    #[session(flash)]
    notice: Option<String>,
}

#[derive(Deserialize)]
struct Greeting {
    name: String,
}

#[derive(Deserialize)]
struct Item {
    item: String,
}

async fn home(session: TypedSession<Visitor>) -> Result<String> {
    let visit = session.increment(Visitor::VISITS, 1)?;
    let name = session.get_name()?.unwrap_or_else(|| "stranger".into());
    let mut page = format!("Hello, {name}! Visit {visit}.\n");
    for item in session.get_cart()? {
        page += &format!("- {item}\n");
    }
    if let Some(notice) = session.get_notice()? {
        page += &format!("({notice})\n");
    }
    Ok(page)
}

async fn greet(session: TypedSession<Visitor>, Form(greeting): Form<Greeting>) -> Result<Redirect> {
    session.put_name(greeting.name)?;
    session.flash_notice("Nice to meet you")?;
    Ok(Redirect::to("/"))
}

async fn add(session: TypedSession<Visitor>, Form(item): Form<Item>) -> Result<Redirect> {
    session.push(Visitor::CART, item.item)?;
    session.flash_notice("Added to your cart")?;
    Ok(Redirect::to("/"))
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let app = Router::new()
        .route("/", get(home))
        .route("/name", post(greet))
        .route("/cart", post(add))
        .layer(SessionLayer::new(FileDriver::new("storage/framework/sessions")));

    let port = std::env::var("PORT").unwrap_or_else(|_| "3000".into());
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("Listening on http://{}", listener.local_addr()?);
    serve(listener, app).await
}
