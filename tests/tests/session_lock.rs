//! No code of the application runs under a session's lock: what a log subscriber, a clock, a key or a dropped closure asks of the session
//! is answered (audit A8).

use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once, mpsc};
use std::time::{Duration, SystemTime};

use session_schema::{Config, Driver, MemoryDriver, Session, SessionManager};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// How long is waited for what would never come. Nothing is waited for where the test passes.
const NEVER: Duration = Duration::from_secs(120);

thread_local! {
    /// The session that the log of this thread asks.
    static ASKED: RefCell<Option<Session>> = const { RefCell::new(None) };
}
static ANSWERS: AtomicUsize = AtomicUsize::new(0);

/// A subscriber that wants to know whose session it is, as one that adds the user to each line does.
struct Curious;

fn ask() {
    let session = ASKED.with_borrow(Clone::clone);
    if let Some(session) = session {
        _ = (session.owner(), session.is_new(), session.get::<u8>("asked"));
        ANSWERS.fetch_add(1, Ordering::Relaxed);
    }
}

impl Subscriber for Curious {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        ask();
        true
    }

    fn event(&self, _: &Event<'_>) {
        ask();
    }

    fn register_callsite(&self, _: &'static Metadata<'static>) -> tracing::subscriber::Interest {
        // Asked anew each time.
        tracing::subscriber::Interest::sometimes()
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// Runs `work` on a thread of its own, so that a lock that is never free fails the test.
fn comes_to_an_end(work: impl AsyncFnOnce(SessionManager, Arc<dyn Driver>) + Send + 'static) {
    let (done, ended) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let (manager, driver) = (
            SessionManager::new(Config::default()).unwrap(),
            Arc::new(MemoryDriver::new()),
        );
        runtime.block_on(work(manager, driver));
        done.send(()).unwrap();
    });
    assert!(
        ended.recv_timeout(NEVER).is_ok(),
        "it panicked, or waits for a lock that it holds itself"
    );
}

/// A stored session of an owner, and another request's view of it.
async fn two_requests(manager: &SessionManager, driver: &Arc<dyn Driver>) -> (Session, Session) {
    let first = manager.build_session(driver.clone(), None);
    first.put("views", 1).unwrap();
    first.set_owner(Some("ann")).unwrap();
    first.save().await.unwrap();
    let id = first.id();
    let request = || manager.build_session(driver.clone(), Some(id.as_str()));
    let (one, other) = (request(), request());
    one.start().await.unwrap();
    other.start().await.unwrap();
    (one, other)
}

#[test]
fn a_log_subscriber_that_asks_the_session_does_not_wait_for_ever() {
    static SUBSCRIBED: Once = Once::new();
    SUBSCRIBED.call_once(|| tracing::subscriber::set_global_default(Curious).unwrap());
    comes_to_an_end(async |manager, driver| {
        // Saved, in conflict, given a new id, dropped, ended by another request, superseded: each says something.
        for slow in [
            (|session: &Session| session.regenerate().unwrap()) as fn(&Session),
            |session| session.put("views", 2).unwrap(),
            |session| session.invalidate().unwrap(),
        ] {
            let (one, other) = two_requests(&manager, &driver).await;
            ASKED.set(Some(one.clone()));
            one.put("slow", 1).unwrap();
            slow(&other);
            other.save().await.unwrap();
            one.save().await.unwrap();
            one.put("again", 1).unwrap();
            one.save().await.unwrap();
            one.reload().await.unwrap();
            one.save().await.unwrap();
            let late = manager.build_session(driver.clone(), Some(one.id().as_str()));
            ASKED.set(Some(late.clone()));
            late.put("late", 1).unwrap();
            late.start().await.unwrap();
            late.save().await.unwrap();
            ASKED.set(None);
        }
    });
    assert_ne!(ANSWERS.load(Ordering::Relaxed), 0);
}

#[test]
fn a_clock_that_asks_the_session_does_not_wait_for_ever() {
    comes_to_an_end(async |_, driver| {
        let asked: Arc<Mutex<Option<Session>>> = Arc::default();
        let clock = {
            let asked = asked.clone();
            move || {
                let session = asked.lock().unwrap().clone();
                if let Some(session) = session {
                    _ = session.owner();
                }
                SystemTime::now()
            }
        };
        let manager = SessionManager::new(Config::default()).unwrap().with_clock(clock);
        let (one, other) = two_requests(&manager, &driver).await;
        *asked.lock().unwrap() = Some(one.clone());
        one.put("a", 1).unwrap();
        one.save().await.unwrap();
        one.reload().await.unwrap();
        one.regenerate().unwrap();
        one.save().await.unwrap();
        drop(other);
        asked.lock().unwrap().take();
    });
}

#[test]
fn a_key_that_asks_the_session_does_not_wait_for_ever() {
    struct Key(Session);
    impl AsRef<str> for Key {
        fn as_ref(&self) -> &str {
            _ = self.0.owner();
            "views"
        }
    }
    comes_to_an_end(async |manager, driver| {
        let (one, _) = two_requests(&manager, &driver).await;
        let key = || [Key(one.clone())];
        assert_eq!((one.only(key()).len(), one.except(key()).len()), (1, 0));
        assert!(one.has_any(key()));
        one.flash("views", 2).unwrap();
        one.keep(key()).unwrap();
        one.forget(key()).unwrap();
    });
}

#[test]
fn what_a_closure_holds_may_use_the_session_when_it_is_dropped() {
    struct Held(Session);
    impl Drop for Held {
        fn drop(&mut self) {
            _ = self.0.owner();
        }
    }
    comes_to_an_end(async |manager, driver| {
        for end in [
            (|session: &Session| session.put("views", 1).unwrap()) as fn(&Session),
            |session| session.forget(["views"]).unwrap(),
            |session| session.replace(serde_json::Map::new()).unwrap(),
            |session| session.flush().unwrap(),
            |session| session.invalidate().unwrap(),
            |session| session.set_owner(Some("ben")).unwrap(),
        ] {
            let (one, other) = two_requests(&manager, &driver).await;
            for session in [&one, &other] {
                let held = Held(session.clone());
                session
                    .update::<u8>("views", move |views| {
                        _ = &held;
                        *views += 1;
                    })
                    .unwrap();
                end(session);
            }
            for session in [&one, &other] {
                _ = session.save().await;
            }
        }
        // One whose session has ended, whose changes are dropped.
        let (one, other) = two_requests(&manager, &driver).await;
        let held = Held(one.clone());
        one.update::<u8>("views", move |views| {
            _ = &held;
            *views += 1;
        })
        .unwrap();
        other.invalidate().unwrap();
        other.save().await.unwrap();
        one.save().await.unwrap();
    });
}
