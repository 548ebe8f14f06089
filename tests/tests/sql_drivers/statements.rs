//! How many statements a request costs, as the server counts them.

use std::time::Duration;

use session_schema::{Session, SessionLayer};
use session_tests::servers::{MariaDb, Postgres};
use session_tests::{App, Browser};

use crate::place::{Kind, Place, on_every_server};

/// The statements that the server has executed on this table, by their first word.
struct Counter {
    place: Place,
    seen: usize,
}

impl Counter {
    async fn new(mut place: Place) -> Self {
        match place.kind {
            Kind::MySql => {
                place
                    .execute("SET GLOBAL log_output = 'FILE', GLOBAL general_log = ON")
                    .await
            }
            _ => place.url = Some(Postgres::shared().url("options[log_statement]=all")),
        }
        Self { place, seen: 0 }
    }

    fn executed(&self) -> Vec<String> {
        let (log, quote) = match self.place.kind {
            Kind::MySql => (MariaDb::shared().general_log(), '`'),
            _ => (Postgres::shared().log(), '"'),
        };
        // Statements have several lines; the table stands in one of them.
        let table = format!("{quote}{}{quote}", self.place.table);
        let (mut statements, mut kind) = (Vec::new(), None);
        for line in log.lines() {
            let begun = line
                .split_once("execute ")
                .map(|(_, rest)| rest.split_once(": ").map_or(rest, |(_, sql)| sql));
            let begun = begun.or_else(|| line.split_once("Execute\t").map(|(_, sql)| sql));
            if let Some(sql) = begun {
                kind = sql.split_whitespace().next();
            } else if line.contains("Prepare\t") || line.starts_with('[') {
                kind = None;
            }
            if line.contains(&table) {
                statements.extend(kind.take().map(str::to_owned));
            }
        }
        statements
    }

    /// Those since the last time.
    fn take(&mut self) -> Vec<String> {
        let all = self.executed();
        all[std::mem::replace(&mut self.seen, all.len())..].to_vec()
    }
}

async fn visit<T: Send + 'static>(browser: &Browser, handler: impl FnOnce(Session) -> T + Send + 'static) -> T {
    browser.visit(handler).await.value()
}

async fn a_request_costs_as_few_statements_as_there_can_be(place: Place) {
    let mut counter = Counter::new(place).await;
    let (driver, clock) = (counter.place.connect().await, counter.place.clock.clone());
    let app = App::new(SessionLayer::new(driver).with_clock(clock.clone()));
    let browser = app.browser();

    // The first who needs the table opens it.
    visit(&app.browser(), |session| session.put("user", 1).unwrap()).await;
    counter.take();
    visit(&browser, |session| session.put("user", 7).unwrap()).await;
    assert_eq!(counter.take(), ["INSERT"], "a new session");

    let untouched = axum::extract::Request::new(axum::body::Body::empty());
    app.send(untouched, async |_| axum::response::IntoResponse::into_response(()))
        .await;
    assert!(counter.take().is_empty(), "a request that asks for no session");

    visit(&browser, |session| session.get::<u8>("user").unwrap()).await;
    assert_eq!(counter.take(), ["SELECT"], "a request that reads");

    visit(&browser, |session| session.put("user", 8).unwrap()).await;
    assert_eq!(counter.take(), ["SELECT", "UPDATE"], "a request that changes");

    clock.advance(Duration::from_secs(3600));
    visit(&browser, |session| session.get::<u8>("user").unwrap()).await;
    // The layer looks, after the touch, whether another request has given the session a new id meanwhile.
    assert_eq!(
        counter.take(),
        ["SELECT", "UPDATE", "SELECT"],
        "a request that is due for a touch, once in a tenth of the lifetime"
    );
    visit(&browser, |session| session.get::<u8>("user").unwrap()).await;
    assert_eq!(counter.take(), ["SELECT"], "the next request");
}

on_every_server! {
    a_request_costs_as_few_statements_as_there_can_be,
}
