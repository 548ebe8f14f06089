//! What a URL says: one server, a cluster, or Sentinels that know the server.

use redis::cluster::ClusterClient;
use redis::sentinel::{SentinelClient, SentinelNodeConnectionInfo, SentinelServerType};
use redis::{Client, ConnectionInfo, IntoConnectionInfo, RedisError, TlsMode};

use super::connection::{PATIENCE, Source, TRY};
use super::error::RedisFailure;
use crate::error::DriverError;

const FORMS: &str = "write `redis://host:6379/`, `redis+cluster://host:port,host:port/`, or `redis+sentinel://host:port,host:port/service`, \
                     with `rediss` for TLS, and `user:password@` before the host where needed";

/// What a URL leads to.
pub(super) fn source(url: &str) -> Result<Source, DriverError> {
    let (scheme, rest) = url.split_once("://").ok_or_else(|| invalid("it has no scheme"))?;
    let (scheme, kind) = scheme.split_once('+').unwrap_or((scheme, ""));
    let tls = match (scheme, kind) {
        ("redis" | "valkey", _) => false,
        ("rediss" | "valkeys", _) => true,
        ("unix", "") => return single(url),
        _ => return Err(invalid("its scheme is not known")),
    };
    if tls {
        choose_cryptography();
    }
    match kind {
        "" => single(url),
        "unix" if !tls => single(url),
        "cluster" => cluster(scheme, &Parts::of(rest)),
        "sentinel" => sentinel(scheme, tls, &Parts::of(rest)),
        _ => Err(invalid("its scheme is not known")),
    }
}

fn single(url: &str) -> Result<Source, DriverError> {
    Client::open(url).map(Source::Single).map_err(refused)
}

fn cluster(scheme: &str, parts: &Parts<'_>) -> Result<Source, DriverError> {
    let nodes = parts.hosts.iter().map(|host| parts.url(scheme, host, parts.path));
    let client = ClusterClient::builder(nodes)
        .connection_timeout(TRY)
        .response_timeout(TRY)
        .overall_response_timeout(Some(PATIENCE))
        // A failover takes a second or more; who asks meanwhile asks a few times a second.
        .min_retry_wait(20)
        .max_retry_wait(300)
        .build();
    client.map(Source::Cluster).map_err(refused)
}

fn sentinel(scheme: &str, tls: bool, parts: &Parts<'_>) -> Result<Source, DriverError> {
    let (service, database) = parts.path.split_once('/').unwrap_or((parts.path, ""));
    if service.is_empty() {
        return Err(invalid("it names no service after the Sentinels"));
    }
    // Password, database and protocol are the server's. The Sentinels have their own password, if any.
    let server = info(&parts.url(scheme, "server", database))?.redis_settings().clone();
    let mut node = SentinelNodeConnectionInfo::default().set_redis_connection_info(server);
    if tls {
        node = node.set_tls_mode(TlsMode::Secure);
    }
    let (user, password) = (parts.option("sentinel_username"), parts.option("sentinel_password"));
    let login = match (user, password) {
        (None, None) => String::new(),
        (user, password) => format!("{}:{}@", user.unwrap_or(""), password.unwrap_or("")),
    };
    let sentinels = parts.hosts.iter().map(|host| {
        let port = if has_port(host) { "" } else { ":26379" };
        info(&format!("{scheme}://{login}{host}{port}/"))
    });
    let sentinels = sentinels.collect::<Result<Vec<_>, _>>()?;
    let client = SentinelClient::build(sentinels, service, Some(node), SentinelServerType::Master);
    client.map(Source::sentinel).map_err(refused)
}

fn info(url: &str) -> Result<ConnectionInfo, DriverError> {
    url.into_connection_info().map_err(refused)
}

/// The parts of a URL with several hosts, which no library of URLs knows.
struct Parts<'a> {
    /// With the `@`.
    login: &'a str,
    hosts: Vec<&'a str>,
    path: &'a str,
    query: &'a str,
}

impl<'a> Parts<'a> {
    fn of(rest: &'a str) -> Self {
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
        Self {
            login,
            hosts: hosts.split(',').map(str::trim).collect(),
            path: path.trim_end_matches('/'),
            query,
        }
    }

    /// The URL of one host.
    fn url(&self, scheme: &str, host: &str, path: &str) -> String {
        format!("{scheme}://{}{host}/{path}?{}", self.login, self.query)
    }

    fn option(&self, name: &str) -> Option<&'a str> {
        let mut options = self.query.split('&').filter_map(|option| option.split_once('='));
        options.find(|(key, _)| *key == name).map(|(_, value)| value)
    }
}

fn has_port(host: &str) -> bool {
    // The colons of an IPv6 address stand in brackets.
    host.rsplit(']').next().is_some_and(|end| end.contains(':'))
}

/// TLS asks the process which cryptography to use, and panics where several are compiled in and none was chosen. What the application has
/// chosen stays.
fn choose_cryptography() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Somebody may have been faster, which is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
    }
}

fn invalid(why: &str) -> DriverError {
    DriverError::backend(RedisFailure::new(
        "understand the `url` of sessions",
        format!("{why}; {FORMS}"),
    ))
}

/// The client's errors about URLs say what is wrong, but some quote it.
fn refused(error: RedisError) -> DriverError {
    invalid(error.category())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_of_url_is_understood() {
        for url in [
            "redis://127.0.0.1/",
            "redis://:secret@127.0.0.1:6379/3?protocol=resp3",
            "rediss://user:secret@redis.example:6380/",
            "valkey://127.0.0.1",
            "unix:///run/redis.sock",
            "redis+unix:///run/redis.sock?db=1",
            "redis+cluster://10.0.0.1:7000,10.0.0.2:7000/",
            "redis+cluster://user:secret@[::1]:7000,h",
            "rediss+cluster://h:1,h:2/",
            "redis+sentinel://a:26379,b/service",
            "redis+sentinel://:secret@a,[::1]/service/2?sentinel_password=other",
            "rediss+sentinel://a,b/service/",
        ] {
            assert!(source(url).is_ok(), "{url}: {:?}", source(url).err());
        }
    }

    #[test]
    fn what_is_no_url_is_an_error_that_shows_the_forms_and_not_the_password() {
        for url in [
            "",
            "secret",
            "http://secret@h/",
            "redis+secret://h/",
            "redis://:secret@/",
            "redis://h:secret/",
            "redis://h/secret",
            "redis+cluster://secret@/",
            "redis+sentinel://:secret@a:1/",
            "redis+sentinel://:secret@a:1",
            "redis+sentinel://:secret@a:1/service/secret",
            "rediss+unix:///secret",
        ] {
            let error = source(url).err().unwrap_or_else(|| panic!("`{url}` is understood"));
            let shown = format!("{error:?}");
            assert!(
                shown.contains("redis+cluster://host") && !shown.contains("secret"),
                "{shown}"
            );
        }
    }

    #[test]
    fn the_parts_of_a_url_with_several_hosts() {
        let parts = Parts::of("u:p@a:1,[::1]:2/service/3/?x=1&y=2");
        assert_eq!((parts.login, parts.path), ("u:p@", "service/3"));
        assert_eq!(parts.hosts, ["a:1", "[::1]:2"]);
        assert_eq!((parts.option("y"), parts.option("z")), (Some("2"), None));
        assert_eq!(parts.url("redis", "a:1", "0"), "redis://u:p@a:1/0?x=1&y=2");
        assert!(has_port("[::1]:2") && has_port("a:1") && !has_port("[::1]") && !has_port("a"));
    }
}
