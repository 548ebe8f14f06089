//! A process that serves requests of a session while other processes do.
//!
//! `<directory> <id> <name> <times>`: loads the session of that id from the directory, changes it and saves it, as often as said. It counts
//! what all do under `all` and `sum`, in the list `list`, and what it does itself under its name.

use session_schema::{Config, FileDriver, SessionManager};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, id, name, times] = &arguments[..] else {
        return Err("usage: session-child <directory> <id> <name> <times>".into());
    };
    let mut config = Config::default();
    config.driver = "shared".into();
    let (manager, directory) = (SessionManager::new(config)?, directory.clone());
    manager.extend("shared", move || std::future::ready(Ok(FileDriver::new(&directory))));
    let driver = manager.driver(None).await?;
    for number in 0..times.parse()? {
        let session = manager.build_session(driver.clone(), Some(id));
        session.start().await?;
        session.increment("all", 1)?;
        session.increment(name, 1)?;
        session.push("list", format!("{name} {number}"))?;
        session.update("sum", move |sum: &mut u64| *sum += number)?;
        session.save().await?;
    }
    Ok(())
}
