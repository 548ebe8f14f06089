//! A wire that can be cut, between a driver and its server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

/// Passes on what is sent to it to a port of this machine, and the answers back, until it is told otherwise.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    fault: Arc<Fault>,
    accepting: AbortHandle,
}

#[derive(Debug, Default)]
struct Fault {
    kind: AtomicU8,
    struck: AtomicU32,
    connections: AtomicU32,
    /// The connections before this one keep silent.
    silent: AtomicU32,
}

const NONE: u8 = 0;
const CUT_QUESTION: u8 = 1;
const CUT_ANSWER: u8 = 2;

impl Proxy {
    /// A proxy before the server on this port.
    pub async fn before(server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port is free");
        let port = listener.local_addr().expect("a listener has an address").port();
        let fault = Arc::new(Fault::default());
        let shared = fault.clone();
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let fault = shared.clone();
                let number = fault.connections.fetch_add(1, Ordering::SeqCst);
                connections.spawn(async move {
                    if let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await {
                        pass(client, server, number, &fault).await;
                    }
                });
            }
        });
        Self {
            port,
            fault,
            accepting: accepting.abort_handle(),
        }
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The next thing that is sent to the server does not get there: the connection is cut instead.
    pub fn cut_next_question(&self) {
        self.fault.kind.store(CUT_QUESTION, Ordering::SeqCst);
    }

    /// The next thing that the server answers does not come back: the connection is cut instead.
    pub fn cut_next_answer(&self) {
        self.fault.kind.store(CUT_ANSWER, Ordering::SeqCst);
    }

    /// From now on nothing goes over the connections that there are, and nobody is told, as when a host vanishes. New ones are good.
    pub fn silence(&self) {
        let connections = self.fault.connections.load(Ordering::SeqCst);
        self.fault.silent.store(connections, Ordering::SeqCst);
    }

    /// How often a connection was cut.
    pub fn cuts(&self) -> u32 {
        self.fault.struck.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Fault {
    async fn wait_if_silent(&self, number: u32) {
        if number < self.silent.load(Ordering::SeqCst) {
            std::future::pending().await
        }
    }

    /// Whether it is time for this fault, which is over then.
    fn strikes(&self, kind: u8) -> bool {
        let struck = self
            .kind
            .compare_exchange(kind, NONE, Ordering::SeqCst, Ordering::SeqCst);
        if struck.is_ok() {
            self.struck.fetch_add(1, Ordering::SeqCst);
        }
        struck.is_ok()
    }
}

/// Passes on in both directions until one end closes or the wire is cut.
async fn pass(client: TcpStream, server: TcpStream, number: u32, fault: &Fault) {
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let questions = async {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from_client.read(&mut buffer).await {
            fault.wait_if_silent(number).await;
            if fault.strikes(CUT_QUESTION) || to_server.write_all(&buffer[..length]).await.is_err() {
                return;
            }
        }
    };
    let answers = async {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from_server.read(&mut buffer).await {
            fault.wait_if_silent(number).await;
            if fault.strikes(CUT_ANSWER) || to_client.write_all(&buffer[..length]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = questions => {}
        () = answers => {}
    }
}
