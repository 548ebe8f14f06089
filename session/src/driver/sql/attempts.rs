//! Running a statement, again where that is safe.

use std::time::{Duration, Instant};

use sqlx::pool::PoolConnection;
use sqlx::{Connection, Pool};

use super::dialect::{Dialect, Fault, Outcome, Row};
use super::error::fault;
use super::statements::{Statement, Values};

/// How long statements that got in each other's way are tried again.
const PATIENCE: Duration = Duration::from_secs(2);

/// The longest wait before that.
const LONGEST_WAIT: Duration = Duration::from_millis(50);

/// What has been tried.
pub(super) struct Attempts {
    since: Instant,
    wait: Duration,
    cut: bool,
}

/// What came of a statement.
pub(super) struct Ran {
    outcome: Outcome,
    /// Whether it was sent before, over a connection that was lost then: it may have been executed twice.
    pub(super) again: bool,
}

impl Attempts {
    pub(super) fn new() -> Self {
        Self {
            since: Instant::now(),
            wait: Duration::from_millis(1),
            cut: false,
        }
    }

    /// Whether a connection has been lost.
    pub(super) fn cut(&self) -> bool {
        self.cut
    }

    /// Waits until it is time for another attempt, or gives the error back when there is to be none. A lost connection is no reason to wait: it may
    /// have been lost long ago, while it lay in the pool.
    pub(super) async fn another<D: Dialect>(&mut self, error: sqlx::Error) -> sqlx::Result<()> {
        match fault::<D>(&error) {
            Fault::Contention if self.since.elapsed() < PATIENCE => {
                tokio::time::sleep(self.wait.mul_f32(0.5 + fastrand::f32())).await;
                self.wait = (self.wait * 2).min(LONGEST_WAIT);
                Ok(())
            }
            Fault::Cut if !self.cut => {
                self.cut = true;
                Ok(())
            }
            _ => Err(error),
        }
    }
}

impl Ran {
    /// How many records were changed.
    pub(super) fn changed(&self) -> u64 {
        match self.outcome {
            Outcome::Changed(count) => count,
            Outcome::Found(_) => 0,
        }
    }

    /// The records that were found.
    pub(super) fn found(self) -> Vec<Row> {
        match self.outcome {
            Outcome::Found(rows) => rows,
            Outcome::Changed(_) => Vec::new(),
        }
    }
}

/// Runs a statement on a connection of `pool`. When it got in the way of another, or its connection is lost, it is run again, on a connection that is known to
/// work. Every statement of this crate may be: it does nothing the second time. Only its answer is another then, which [`Ran::again`] tells.
pub(super) async fn run<D: Dialect>(pool: &Pool<D>, statement: &Statement, values: &Values<'_>) -> sqlx::Result<Ran> {
    let mut attempts = Attempts::new();
    let mut sent = false;
    loop {
        let mut connection = match connection(pool, attempts.cut()).await {
            Ok(connection) => connection,
            Err(error) => {
                attempts.another::<D>(error).await?;
                continue;
            }
        };
        let error = match D::run(&mut connection, statement, values).await {
            Ok(Outcome::Found(rows)) if !rows.iter().all(|row| statement.asks_for(values, row)) => {
                // The next answer over this connection would belong to another statement, too.
                drop(connection.detach());
                return Err(sqlx::Error::Protocol(
                    "the answer is about another session than was asked for, so the connection was given up".to_owned(),
                ));
            }
            Ok(outcome) => return Ok(Ran { outcome, again: sent }),
            Err(error) => error,
        };
        match fault::<D>(&error) {
            Fault::Duplicate => {
                let outcome = Outcome::Changed(0);
                return Ok(Ran { outcome, again: sent });
            }
            Fault::Cut => {
                sent = true;
                drop(connection.detach());
            }
            _ => drop(connection),
        }
        attempts.another::<D>(error).await?;
    }
}

/// A connection of the pool. Asking each whether it works would double the statements of every request; it is done when one has turned out not to,
/// because after a restart of the server none of the pool does.
pub(super) async fn connection<D: Dialect>(pool: &Pool<D>, tested: bool) -> sqlx::Result<PoolConnection<D>> {
    if tested {
        for _ in 0..pool.options().get_max_connections() {
            let mut connection = pool.acquire().await?;
            if connection.ping().await.is_ok() {
                return Ok(connection);
            }
            drop(connection.detach());
        }
    }
    pool.acquire().await
}
