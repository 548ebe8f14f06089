//! A process that serves requests of a session while other processes do.
//!
//! `<driver> <place> <id> <name> <writers> <times>`: so many requests at once, each so often, load the session of that id from the
//! [shared store](session_tests::processes::sharing), change it and save it. They count what all do under `all` and `sum`, in the list `list`, and what this
//! process does under its name. It begins when it is told to by a line.

use std::io::Read;
use std::sync::Arc;

use session_schema::{Driver, SessionManager};
use session_tests::processes::sharing;
use tokio::task::JoinSet;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [driver, place, id, name, writers, times] = &arguments[..] else {
        return Err("usage: session-child <driver> <place> <id> <name> <writers> <times>".into());
    };
    let manager = Arc::new(sharing(driver, place)?);
    let driver = manager.driver(None).await?;
    println!("ready");
    std::io::stdin().read_exact(&mut [0])?;
    let (mut writing, times) = (JoinSet::new(), times.parse()?);
    for writer in 0..writers.parse()? {
        let (manager, driver, id, name) = (manager.clone(), driver.clone(), id.clone(), name.clone());
        writing.spawn(async move {
            for time in 0..times {
                request(&manager, &driver, &id, &name, writer * times + time).await?;
            }
            Ok::<_, Failure>(())
        });
    }
    while let Some(done) = writing.join_next().await {
        done??;
    }
    Ok(())
}

async fn request(
    manager: &SessionManager,
    driver: &Arc<dyn Driver>,
    id: &str,
    name: &str,
    number: u64,
) -> session_schema::Result<()> {
    let session = manager.build_session(driver.clone(), Some(id));
    session.start().await?;
    session.increment("all", 1)?;
    session.increment(name, 1)?;
    session.push("list", format!("{name} {number}"))?;
    // Whoever is served at the same time has loaded the same.
    tokio::task::yield_now().await;
    session.update("sum", move |sum: &mut u64| *sum += number)?;
    session.save().await
}
