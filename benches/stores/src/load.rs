//! The load: [wrk](https://github.com/wg/wrk), because it needs little of the machine that it shares with what it measures, and because
//! the figures about other libraries were taken with it.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::workload::Workload;

/// How many requests are under way at a time.
pub(crate) const CONNECTIONS: usize = 32;

/// What has come of some seconds of load.
pub(crate) struct Load {
    pub(crate) requests: u64,
    pub(crate) time: Duration,
}

impl Load {
    pub(crate) fn per_second(&self) -> f64 {
        self.requests as f64 / self.time.as_secs_f64()
    }
}

/// Takes the visitors in turn, each with the next request, and says at the end what came of it. The requests are made before, so that Lua has little to do.
const SCRIPT: &str = r#"
local requests, next = {}, 0
function init()
  for cookie in io.lines("COOKIES") do
    requests[#requests + 1] = wrk.format("GET", "PATH", cookie ~= "" and { Cookie = cookie } or nil)
  end
end
function request()
  next = next % #requests + 1
  return requests[next]
end
function done(summary)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format("RESULT %d %d %d\n", summary.requests, summary.duration, failed))
end
"#;

/// The file that wrk is given, in `folder`. Without cookies all requests are those of new visitors.
///
/// # Errors
///
/// When it cannot be written.
pub(crate) fn script(folder: &Path, name: &str, workload: Workload, cookies: &[String]) -> Result<(), String> {
    let list = folder.join(format!("{name}.cookies"));
    let lines = match workload.has_cookie() {
        true => cookies.join("\n"),
        false => "\n".to_owned(),
    };
    let script = SCRIPT
        .replace("COOKIES", &list.display().to_string())
        .replace("PATH", workload.path());
    fs::write(&list, lines)
        .and_then(|()| fs::write(folder.join(format!("{name}.lua")), script))
        .map_err(|error| format!("what wrk has to do cannot be written: {error}"))
}

/// Some seconds of load.
///
/// # Errors
///
/// When wrk is missing, with what to install, or a request fails.
pub(crate) fn run(folder: &Path, name: &str, port: u16, seconds: u64) -> Result<Load, String> {
    let mut wrk = Command::new("wrk");
    wrk.args(["--threads", "1", "--connections", &CONNECTIONS.to_string()])
        .args(["--duration", &format!("{seconds}s"), "--script"])
        .arg(folder.join(format!("{name}.lua")))
        .arg(format!("http://127.0.0.1:{port}/"));
    let output = wrk.output().map_err(|error| match error.kind() {
        ErrorKind::NotFound => "the load is made by wrk, which is not installed: `apt-get install wrk`".to_owned(),
        _ => format!("wrk cannot be started: {error}"),
    })?;
    let text = String::from_utf8_lossy(&output.stdout);
    let result = text.lines().find_map(|line| line.strip_prefix("RESULT "));
    let numbers: Vec<u64> = result
        .unwrap_or("")
        .split(' ')
        .filter_map(|number| number.parse().ok())
        .collect();
    match numbers[..] {
        [requests, micros, 0] if requests > 0 => Ok(Load {
            requests,
            time: Duration::from_micros(micros),
        }),
        [requests, _, failed] => Err(format!("{failed} of {requests} requests failed")),
        _ => Err(format!("wrk fails: {text}{}", String::from_utf8_lossy(&output.stderr))),
    }
}
