//! A process with a [stepwise application](session_tests::stepwise): `<driver> <at> <within> <milliseconds since 1970>`. It prints its port, and ends when its
//! input does.

use std::io::Read;

use session_tests::stepwise::{Place, Time, driver, serve};

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, at, within, time] = &arguments[..] else {
        return Err("usage: stepwise-server <driver> <at> <within> <milliseconds since 1970>".into());
    };
    let (time, place) = (
        Time::at(time.parse()?),
        Place {
            driver: name.clone(),
            at: at.clone(),
            within: within.clone(),
        },
    );
    println!("{}", serve(driver(&place, &time).await?, time).await);
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    Ok(())
}
