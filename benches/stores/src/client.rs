//! One request at a time, to prepare sessions and to see whether a contender does what it should. The load is wrk's affair.

use std::io::{Read, Write};
use std::net::TcpStream;

pub(crate) struct Answer {
    pub(crate) status: u16,
    /// What a browser sends back.
    pub(crate) cookie: Option<String>,
    pub(crate) body: String,
}

/// # Errors
///
/// When no response comes, or one that is none.
pub(crate) fn get(port: u16, path: &str, cookie: Option<&str>) -> Result<Answer, String> {
    ask(port, path, cookie)
        .map_err(|error| format!("GET {path}: {error}"))
        .and_then(|response| parse(&response).ok_or_else(|| format!("GET {path}: what comes is no response")))
}

fn ask(port: u16, path: &str, cookie: Option<&str>) -> std::io::Result<String> {
    let mut server = TcpStream::connect(("127.0.0.1", port))?;
    let cookie = cookie.map_or(String::new(), |cookie| format!("Cookie: {cookie}\r\n"));
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{cookie}\r\n");
    server.write_all(request.as_bytes())?;
    let mut response = String::new();
    server.read_to_string(&mut response)?;
    Ok(response)
}

fn parse(response: &str) -> Option<Answer> {
    let (head, body) = response.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let cookie = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        let pair = value.split(';').next()?;
        name.eq_ignore_ascii_case("set-cookie").then(|| pair.to_owned())
    });
    Some(Answer {
        status,
        cookie,
        body: body.to_owned(),
    })
}
