//! Connections that can be cut at a chosen moment, or go dead.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;

/// Passes on what goes between clients and a server, until it is told otherwise. Ends with the test's runtime.
#[derive(Clone, Debug)]
pub struct Relay {
    port: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    plan: Option<Plan>,
    connections: JoinSet<()>,
    accepted: usize,
    /// The connections before this one keep silent.
    silent: usize,
    /// What clients write, and what the server is told instead.
    swapped: Option<(Vec<u8>, Vec<u8>)>,
    cuts: u32,
}

/// What is to happen to a connection.
#[derive(Debug)]
struct Plan {
    /// When it sends this, anything if it is empty.
    marker: Vec<u8>,
    /// Whether the server is to get it, and only the answer is lost.
    delivered: bool,
    /// Told when the server has answered, or would have got it.
    reached: oneshot::Sender<()>,
    /// Waited for before the connection is cut.
    go_on: Arc<Semaphore>,
}

/// A connection that is about to be cut.
#[derive(Debug)]
pub struct Cut {
    reached: Option<oneshot::Receiver<()>>,
    go_on: Arc<Semaphore>,
}

impl Relay {
    /// A relay to a port of this machine.
    ///
    /// # Panics
    ///
    /// When no port is free.
    pub async fn to(server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port is free");
        let port = listener.local_addr().expect("a listener has an address").port();
        let state = Arc::<Mutex<State>>::default();
        let relay = Self { port, state };
        let accepting = relay.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let shared = accepting.state.clone();
                let mut state = lock(&accepting.state);
                let number = state.accepted;
                state.accepted += 1;
                state.connections.spawn(async move {
                    // Whatever ends it ends both sides.
                    let _ = pass_on(client, server, number, &shared).await;
                });
            }
        });
        relay
    }

    /// Its own port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Cuts every connection that there is now.
    pub async fn cut_all(&self) {
        let mut connections = std::mem::take(&mut lock(&self.state).connections);
        connections.shutdown().await;
    }

    /// From now on nothing goes over the connections that there are, and nobody is told, as when a host vanishes. New ones are good.
    pub fn silence(&self) {
        let mut state = lock(&self.state);
        state.silent = state.accepted;
    }

    /// How often a connection was cut as planned.
    pub fn cuts(&self) -> u32 {
        lock(&self.state).cuts
    }

    /// The next thing that is sent to the server does not get there: the connection is cut instead.
    pub fn cut_next_request(&self) {
        self.lose_request("").go_on();
    }

    /// The next thing that is sent is answered, but the connection is cut before the answer comes back.
    pub fn cut_next_answer(&self) {
        self.lose_answer("").go_on();
    }

    /// The next connection that sends `marker` is cut before the server gets it.
    pub fn lose_request(&self, marker: &str) -> Cut {
        self.plan(marker, false)
    }

    /// The next connection that sends `marker` is cut when the server has answered, before the client gets the answer.
    pub fn lose_answer(&self, marker: &str) -> Cut {
        self.plan(marker, true)
    }

    /// From now on, questions about `one` get the answer about `other`, as over a connection that is out of step.
    ///
    /// # Panics
    ///
    /// Unless both are of the same length, which protocols count.
    pub fn swap(&self, one: &str, other: &str) {
        assert_eq!(one.len(), other.len(), "one can stand in the place of the other");
        lock(&self.state).swapped = Some((one.into(), other.into()));
    }

    fn plan(&self, marker: &str, delivered: bool) -> Cut {
        let (reached, told) = oneshot::channel();
        let go_on = Arc::new(Semaphore::new(0));
        lock(&self.state).plan = Some(Plan {
            marker: marker.into(),
            delivered,
            reached,
            go_on: go_on.clone(),
        });
        Cut {
            reached: Some(told),
            go_on,
        }
    }
}

impl Cut {
    /// Waits until it has come so far.
    pub async fn reached(&mut self) {
        let reached = self.reached.take().expect("it is reached once");
        reached.await.expect("somebody sends the marker");
    }

    /// Lets the connection be cut.
    pub fn go_on(&self) {
        self.go_on.add_permits(1);
    }
}

async fn pass_on(mut client: TcpStream, server: u16, number: usize, state: &Mutex<State>) -> std::io::Result<()> {
    let mut server = TcpStream::connect(("127.0.0.1", server)).await?;
    let (mut asked, mut answered) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        tokio::select! {
            length = client.read(&mut asked) => {
                let request = &mut asked[..length?];
                swap(state, request);
                if request.is_empty() {
                    return Ok(());
                }
                wait_if_silent(state, number).await;
                if let Some(plan) = planned(state, request) {
                    if plan.delivered {
                        server.write_all(request).await?;
                        // The beginning of the answer: it has been done.
                        let _: usize = server.read(&mut answered).await?;
                    }
                    let _ = plan.reached.send(());
                    plan.go_on.acquire().await.expect("it is not closed").forget();
                    lock(state).cuts += 1;
                    return Ok(());
                }
                server.write_all(request).await?;
            }
            length = server.read(&mut answered) => {
                let answer = &answered[..length?];
                if answer.is_empty() {
                    return Ok(());
                }
                wait_if_silent(state, number).await;
                client.write_all(answer).await?;
            }
        }
    }
}

async fn wait_if_silent(state: &Mutex<State>, number: usize) {
    let silent = number < lock(state).silent;
    if silent {
        std::future::pending().await
    }
}

fn swap(state: &Mutex<State>, request: &mut [u8]) {
    let Some((one, other)) = &lock(state).swapped else {
        return;
    };
    if one.is_empty() {
        return;
    }
    for at in 0..(request.len() + 1).saturating_sub(one.len()) {
        if request[at..].starts_with(one) {
            request[at..at + one.len()].copy_from_slice(other);
        }
    }
}

/// The plan, if this is what it waits for.
fn planned(state: &Mutex<State>, request: &[u8]) -> Option<Plan> {
    let plan = &mut lock(state).plan;
    let found = |plan: &mut Plan| {
        let marker = &plan.marker;
        marker.is_empty() || request.windows(marker.len()).any(|part| part == marker)
    };
    plan.take_if(found)
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
