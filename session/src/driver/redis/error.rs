//! What can go wrong with Redis, told without keys, values and addresses.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::error::DriverError;

/// Says what could not be done and why. The errors of the client are not passed on: a server may quote in its answer what it was sent, keys
/// and payloads included, and an error of connecting names the address.
#[derive(Debug)]
pub(super) struct RedisFailure {
    purpose: &'static str,
    reason: String,
}

impl RedisFailure {
    pub(super) fn new(purpose: &'static str, reason: impl Into<String>) -> Self {
        Self {
            purpose,
            reason: reason.into(),
        }
    }
}

impl fmt::Display for RedisFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "could not {} in Redis: {}", self.purpose, self.reason)
    }
}

impl StdError for RedisFailure {}

/// The error of a driver's method.
pub(super) fn driver_error(purpose: &'static str, error: &RedisError) -> DriverError {
    let failure = RedisFailure::new(purpose, reason(error));
    match is_unavailable(error) {
        true => DriverError::unavailable(failure),
        false => DriverError::backend(failure),
    }
}

/// An answer that no script gives.
pub(super) fn unexpected(purpose: &'static str) -> DriverError {
    DriverError::backend(RedisFailure::new(
        purpose,
        "the server gave an answer that no script gives",
    ))
}

/// The answer to another command.
pub(super) fn of_another(purpose: &'static str) -> DriverError {
    DriverError::backend(RedisFailure::new(
        purpose,
        "the answer is about another key than was asked for, so the connection was given up",
    ))
}

/// What stands for a conflict when an answer was lost: the record that is there is another, but this one may have been there in between. To call that a
/// conflict would have the writer make its changes a second time.
pub(super) fn not_known(purpose: &'static str) -> DriverError {
    DriverError::unavailable(RedisFailure::new(
        purpose,
        "the connection was lost during the write, and others have written since: whether it was stored is not known",
    ))
}

/// Whether trying again later may help: nobody answers, or who answers is not, or not yet, or no more the one to ask.
fn is_unavailable(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Io
        | ErrorKind::ClusterConnectionNotFound
        | ErrorKind::MasterNameNotFoundBySentinel
        | ErrorKind::NoValidReplicasFoundBySentinel => true,
        ErrorKind::Server(kind) => matches!(
            kind,
            ServerErrorKind::BusyLoading
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::MasterDown
                | ServerErrorKind::TryAgain
                | ServerErrorKind::ReadOnly
                | ServerErrorKind::Moved
                | ServerErrorKind::Ask
        ),
        // The server is in a script that does not end, or must not write because too few replicas, or the disk, would know of it.
        _ => matches!(error.code(), Some("BUSY" | "NOREPLICAS" | "MISCONF" | "UNBLOCKED")),
    }
}

/// Whether there was no answer, so that nobody can tell whether the command was run.
pub(super) fn is_unanswered(error: &RedisError) -> bool {
    error.is_io_error() || error.is_unrecoverable_error()
}

/// Whether the connection is of no more use: it is cut, nothing has come back over it for long, or it leads to a server that has been replaced
/// by another, or wants to know a password that has changed.
pub(super) fn is_lost(error: &RedisError) -> bool {
    is_unanswered(error)
        || error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
        || error.code() == Some("NOAUTH")
}

/// Whether the same command may succeed at once over another connection. One that has timed out has used up its time.
pub(super) fn is_worth_another_try(error: &RedisError) -> bool {
    is_lost(error) && !error.is_timeout()
}

/// Why, in the words of the client or the server, as far as these say nothing that is secret.
fn reason(error: &RedisError) -> String {
    let code = error.code().unwrap_or_default();
    let detail = match error.kind() {
        ErrorKind::Io if error.is_timeout() => return "there was no answer in time".to_owned(),
        ErrorKind::Io => return format!("the connection failed ({})", io_reason(error)),
        ErrorKind::Server(_) | ErrorKind::Extension => error.detail().unwrap_or_default(),
        _ => return error.category().to_owned(),
    };
    match code {
        "OOM" => "OOM: the server's memory is full (`maxmemory`)".to_owned(),
        "MOVED" | "ASK" => format!("{code}: the cluster is moving keys"),
        _ => format!("{code} {}", harmless(detail)).trim_end().to_owned(),
    }
}

/// The kind alone: the text may have an address in it.
fn io_reason(error: &RedisError) -> String {
    // The client shares the error that it passes on.
    let shared = error
        .source()
        .and_then(|source| source.downcast_ref::<Arc<dyn StdError + Send + Sync>>());
    let source = shared.and_then(|shared| shared.downcast_ref::<std::io::Error>());
    source.map_or_else(|| "closed".to_owned(), |error| error.kind().to_string())
}

/// What a server says up to where it quotes the command: `unknown command 'X', with args beginning with: 'session:{..`
fn harmless(detail: &str) -> &str {
    let end = ["with args", "{", "'", "\"", "`"]
        .iter()
        .filter_map(|mark| detail.find(mark))
        .min();
    &detail[..end.unwrap_or(detail.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(text: &str) -> RedisError {
        let answer = redis::parse_redis_value(format!("-{text}\r\n").as_bytes()).unwrap();
        answer.extract_error().unwrap_err()
    }

    #[test]
    fn an_answer_that_quotes_the_command_shows_no_key() {
        let quoting = [
            "ERR unknown command 'EVALSHA', with args beginning with: 'e0e1' '1' 'session:{secret}' ",
            "ERR unknown command `EVALSHA`, with args beginning with: `secret`, ",
            "NOPERM no permissions to access the key session:{secret}",
        ];
        for text in quoting {
            let error = driver_error("read a session", &server(text));
            let shown = format!("{error} {error:?} {}", error.source().unwrap());
            assert!(!shown.contains("secret"), "{shown}");
            assert!(!error.is_unavailable());
        }
    }

    #[test]
    fn a_server_that_is_not_or_no_more_the_one_to_ask_is_out_of_reach() {
        for text in [
            "LOADING Redis is loading the dataset in memory",
            "CLUSTERDOWN The cluster is down",
            "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
            "TRYAGAIN Multiple keys request during rehashing of slot",
            "READONLY You can't write against a read only replica.",
            "MOVED 1 127.0.0.1:1",
            "NOREPLICAS Not enough good replicas to write.",
        ] {
            assert!(driver_error("read a session", &server(text)).is_unavailable(), "{text}");
        }
        for text in [
            "WRONGTYPE Operation against a key holding the wrong kind of value",
            "NOAUTH Authentication required.",
            "OOM command not allowed when used memory > 'maxmemory'.",
            "ERR syntax error",
        ] {
            let error = driver_error("read a session", &server(text));
            assert!(!error.is_unavailable(), "{text}");
            let code = text.split(' ').next().unwrap();
            assert!(error.source().unwrap().to_string().contains(code), "{text}");
        }
    }

    #[test]
    fn an_address_is_not_in_an_error_of_connecting() {
        let error = RedisError::from(std::io::Error::other("secret.example:6379"));
        let error = driver_error("connect", &error);
        assert!(!format!("{error:?}").contains("secret"));
        assert!(error.is_unavailable());
    }
}
