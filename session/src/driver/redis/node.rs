//! The connection to one node of a cluster.
//!
//! The client sends a command again by itself when a node does not answer, and does not say so. What it sends and what becomes of that is seen here.
//! That it connects by a type of ours is a thing its tests do, and not in its documentation.

use std::sync::atomic::{AtomicU64, Ordering};

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster_async::Connect;
use redis::{AsyncConnectionConfig, Cmd, IntoConnectionInfo, Pipeline, RedisFuture, Value};

use super::error::is_unanswered;

/// Of all clusters: the client does not let a connection know whose it is.
static UNANSWERED: AtomicU64 = AtomicU64::new(0);

/// How many answers of nodes have been lost or given up so far. When this grows while a command is under way, it may have been sent twice.
pub(super) fn unanswered() -> u64 {
    UNANSWERED.load(Ordering::SeqCst)
}

#[derive(Clone)]
pub(super) struct Node(MultiplexedConnection);

impl Connect for Node {
    fn connect_with_config<'a, T>(info: T, config: AsyncConnectionConfig) -> RedisFuture<'a, Self>
    where
        T: IntoConnectionInfo + Send + 'a,
    {
        Box::pin(async move { MultiplexedConnection::connect_with_config(info, config).await.map(Self) })
    }
}

impl ConnectionLike for Node {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move {
            let mut waiting = Waiting { answered: false };
            let answer = self.0.req_packed_command(command).await;
            waiting.answered = !answer.as_ref().is_err_and(is_unanswered);
            answer
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        // None of the sessions' commands is in one.
        self.0.req_packed_commands(pipeline, offset, count)
    }

    fn get_db(&self) -> i64 {
        self.0.get_db()
    }
}

/// A command that has been sent.
struct Waiting {
    answered: bool,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.answered {
            UNANSWERED.fetch_add(1, Ordering::SeqCst);
        }
    }
}
