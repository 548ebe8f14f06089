//! What many sessions need, and what they slow down: a store is filled to some sizes, and asked at each.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use session_schema::testing::ManualClock;
use session_schema::{Driver, DriverError, Expected, Record, StoreKey, Written};
use tokio::task::JoinSet;

use crate::content::content;
use crate::filled::Filled;
use crate::load::CONNECTIONS;

/// How many sessions are read and written at each size, one at a time.
const SAMPLES: usize = 5_000;
/// Every tenth session lives for an hour, the others for two.
const SHORT: Duration = Duration::from_secs(60 * 60);
const LONG: Duration = Duration::from_secs(2 * 60 * 60);

/// Fills a store to these sizes, in order, and prints what it measures. With `owners` every session is somebody's.
///
/// # Errors
///
/// When the store cannot be started, or fails.
pub(crate) async fn million(store: &str, sizes: &[usize], owners: bool) -> Result<(), String> {
    let clock = ManualClock::new();
    let filled = Filled::start(store, &clock).await?;
    println!(
        "\n{store}{}:\n",
        if owners { ", each session with an owner" } else { "" }
    );
    println!("| sessions | made per second | read, µs: median (99 %) | write, µs: median (99 %) | bytes per session |");
    println!("|---|---|---|---|---|");
    let told = |error: DriverError| format!("{store} fails: {error}");
    let driver = filled.driver();
    let sessions = Sessions::new(clock.clone(), owners);
    let empty = filled.bytes().await?;
    let mut size = 0;
    for &goal in sizes {
        let since = Instant::now();
        fill(driver, &sessions, size, goal).await.map_err(told)?;
        let per_second = (goal - size) as f64 / since.elapsed().as_secs_f64();
        size = goal;
        let bytes = filled.bytes().await?.saturating_sub(empty);
        let reads = times(size, async |number| read(&**driver, number).await)
            .await
            .map_err(told)?;
        let writes = times(size, async |number| rewrite(&**driver, &sessions, number).await)
            .await
            .map_err(told)?;
        let per_session = bytes as f64 / size as f64;
        println!("| {size} | {per_second:.0} | {reads} | {writes} | {per_session:.0} |");
    }
    collect(&filled, &clock, size, owners).await
}

/// What is stored.
#[derive(Clone)]
struct Sessions {
    payload: Vec<u8>,
    clock: ManualClock,
    owners: bool,
}

impl Sessions {
    fn new(clock: ManualClock, owners: bool) -> Self {
        let payload = serde_json::to_vec(&content()).expect("it is JSON");
        Self { payload, clock, owners }
    }

    fn record(&self, number: usize) -> Record {
        use session_schema::Clock;
        let lifetime = if is_short(number) { SHORT } else { LONG };
        let owner = self.owners.then(|| (184_467 + number).to_string());
        Record::new(self.payload.clone(), self.clock.now() + lifetime).with_owner(owner)
    }
}

pub(crate) fn is_short(number: usize) -> bool {
    number % 10 == 3
}

/// A key that looks like any other: 64 letters that a session id's hash may have, from the finalizer of SplitMix64.
pub(crate) fn key(number: usize) -> StoreKey {
    let word = |place: u64| {
        let mut word = (number as u64 * 4 + place + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    };
    let text = format!("{:016x}{:016x}{:016x}{:016x}", word(0), word(1), word(2), word(3));
    text.parse().expect("these are letters of a key")
}

async fn fill(driver: &Arc<dyn Driver>, sessions: &Sessions, from: usize, to: usize) -> Result<(), DriverError> {
    let mut writers = JoinSet::new();
    for writer in 0..CONNECTIONS {
        let (driver, sessions) = (driver.clone(), sessions.clone());
        writers.spawn(async move {
            for number in (from + writer..to).step_by(CONNECTIONS) {
                driver
                    .write(&key(number), &sessions.record(number), Expected::Absent)
                    .await?;
            }
            Ok(())
        });
    }
    while let Some(ended) = writers.join_next().await {
        ended.expect("a writer does not panic")?;
    }
    Ok(())
}

async fn read(driver: &dyn Driver, number: usize) -> Result<Duration, DriverError> {
    let key = key(number);
    let since = Instant::now();
    let record = driver.read(&key).await?;
    let time = since.elapsed();
    assert!(record.is_some(), "what was stored is there");
    Ok(time)
}

async fn rewrite(driver: &dyn Driver, sessions: &Sessions, number: usize) -> Result<Duration, DriverError> {
    let key = key(number);
    let seen = driver.read(&key).await?.expect("what was stored is there");
    let record = sessions.record(number);
    let since = Instant::now();
    let written = driver.write(&key, &record, Expected::Version(seen.version())).await?;
    let time = since.elapsed();
    assert!(matches!(written, Written::Done(_)), "nobody else writes");
    Ok(time)
}

/// Times of [`SAMPLES`] calls about sessions taken at random.
async fn times(size: usize, call: impl AsyncFn(usize) -> Result<Duration, DriverError>) -> Result<Times, DriverError> {
    let mut times = Vec::new();
    for _ in 0..SAMPLES {
        times.push(call(fastrand::usize(..size)).await?);
    }
    Ok(Times::of(times))
}

struct Times {
    median: Duration,
    most: Duration,
    all: Duration,
}

impl Times {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort();
        Self {
            median: times[times.len() / 2],
            most: times[times.len() * 99 / 100],
            all: times[times.len() - 1],
        }
    }
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        write!(f, "{:.1} ({:.1})", micros(self.median), micros(self.most))
    }
}

/// A tenth expires; how long until that has gone, and how reads fare meanwhile.
async fn collect(filled: &Filled, clock: &ManualClock, size: usize, owners: bool) -> Result<(), String> {
    let driver = filled.driver();
    let told = |error: DriverError| format!("the store fails: {error}");
    if filled.forgets_by_itself() {
        return forgotten(filled, size, owners).await;
    }
    clock.advance((SHORT + LONG) / 2);
    let collecting = driver.clone();
    let since = Instant::now();
    let collection = tokio::spawn(async move { collecting.gc().await });
    let mut reads = Vec::new();
    while !collection.is_finished() {
        let number = fastrand::usize(..size);
        if !is_short(number) {
            reads.push(read(&**driver, number).await.map_err(told)?);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    let removed = collection.await.expect("a collection does not panic").map_err(told)?;
    let time = since.elapsed().as_secs_f64();
    println!(
        "\ngc removed {removed} of {size} in {time:.2} s; reads meanwhile, in µs: {}",
        Worst(&reads)
    );
    println!("{} bytes are occupied then", filled.bytes().await?);
    Ok(())
}

/// A store that has no need of `gc`: a tenth is told to end in some seconds. Redis looks for what has expired now and then, and harder while it finds that a
/// tenth or more has; so how many are still there after a minute is what there is to say, and not when the last one goes.
async fn forgotten(filled: &Filled, size: usize, owners: bool) -> Result<(), String> {
    let driver = filled.driver();
    let told = |error: DriverError| format!("the store fails: {error}");
    let end = SystemTime::now() + Duration::from_secs(5) + Duration::from_millis(size as u64 / 20);
    for number in (0..size).filter(|&number| is_short(number)) {
        driver.touch(&key(number), end).await.map_err(told)?;
    }
    let early = end
        .duration_since(SystemTime::now())
        .map_err(|_| "the touches took too long".to_owned())?;
    tokio::time::sleep(early).await;
    let since = Instant::now();
    let live = size - (0..size).filter(|&number| is_short(number)).count();
    println!("\n{} of {size} have expired:\n", size - live);
    // Each owner has a set, which lasts longer than the session.
    let expected = if owners { live + size } else { live };
    for seconds in [1, 10, 60] {
        let mut reads = Vec::new();
        while since.elapsed() < Duration::from_secs(seconds) {
            let number = fastrand::usize(..size);
            if !is_short(number) {
                reads.push(read(&**driver, number).await.map_err(told)?);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        let (left, reads) = (filled.count()?.saturating_sub(expected), Worst(&reads));
        println!("after {seconds} s {left} of them are still there; reads until then, in µs: {reads}");
    }
    println!("{} bytes are occupied then", filled.bytes().await?);
    Ok(())
}

struct Worst<'a>(&'a [Duration]);

impl std::fmt::Display for Worst<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            [] => f.write_str("none"),
            times => {
                let times = Times::of(times.to_vec());
                write!(f, "{times}, {:.0} at most", times.all.as_secs_f64() * 1e6)
            }
        }
    }
}
