//! How a contender is served: on a free port, which it prints.

use axum::Router;
use axum::routing::{MethodRouter, get};
use tokio::net::TcpListener;

/// The application of a contender: a path for each workload, and two to prepare and check them.
pub(crate) fn routes(
    create: MethodRouter,
    read: MethodRouter,
    replace: MethodRouter,
    seed: MethodRouter,
    value: MethodRouter,
) -> Router {
    Router::new()
        .route("/untouched", get(async || crate::content::DONE))
        .route("/create", create)
        .route("/read", read)
        .route("/replace", replace)
        .route("/seed", seed)
        .route("/value", value)
}

/// Serves until the process is killed.
pub(crate) async fn serve(app: Router) -> std::io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("{}", listener.local_addr()?.port());
    axum::serve(listener, app).await
}
