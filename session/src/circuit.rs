//! A circuit breaker: a store that is down is not asked by every request, but now and then by one.
//!
//! * Closed, as it nearly always is: a call costs one look at a number before it and one after it, which no call writes to while all is well.
//! * Open after [`FAILURES`] calls in a row found the store out of reach or were not answered in time: calls fail at once, and so do not
//!   hold a request, a connection and a place in a queue each for as long as the time limit allows. An *error* of the store is an answer; it opens nothing.
//! * While it is open, one call at a time is let through, after a pause that grows with each that fails. The first answer closes it.
//!
//! Time is tokio's, and not the clock of sessions: how long a store is spared has nothing to do with when sessions expire.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::error::DriverError;

/// How many calls in a row have to fail: more than the few connections of a pool that a restart of the server has broken.
const FAILURES: u32 = 5;
/// How long the store is spared at first, at most.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// How long it is spared when it has been down for a while, at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// Whether a store may be asked. Shared by everything that uses the store.
#[derive(Default)]
pub(crate) struct Circuit {
    /// How many calls in a row have failed, as far as it matters: [`FAILURES`] means that the circuit is open.
    failures: AtomicU32,
    /// Looked at while something is wrong, and only then.
    outage: Mutex<Option<Outage>>,
}

struct Outage {
    since: Instant,
    /// From when on the next call is let through.
    retry_at: Instant,
    pause: Duration,
    probing: bool,
}

/// The right to make one call, whose end is to be [reported](Permit::report).
pub(crate) struct Permit<'a> {
    circuit: &'a Circuit,
    probe: bool,
}

impl Circuit {
    /// Lets a call through, or says at once that the store is down.
    pub(crate) fn admit(&self) -> Result<Permit<'_>, DriverError> {
        let probe = match self.failures.load(Ordering::Relaxed) {
            0..FAILURES => false,
            _ => self.admit_while_open()?,
        };
        Ok(Permit { circuit: self, probe })
    }

    #[cold]
    fn admit_while_open(&self) -> Result<bool, DriverError> {
        let mut outage = self.lock();
        // Closed by another call since the number was looked at.
        let Some(outage) = outage.as_mut() else {
            return Ok(false);
        };
        if outage.probing || Instant::now() < outage.retry_at {
            return Err(DriverError::unavailable(
                "the session store has not been answering, so it is asked only now and then whether it does again",
            ));
        }
        outage.probing = true;
        Ok(true)
    }

    #[cold]
    fn note_failure(&self, probe: bool) {
        let mut slot = self.lock();
        match slot.as_mut() {
            Some(outage) if probe => {
                outage.pause = (outage.pause * 2).min(LONGEST_PAUSE);
                outage.retry_at = Instant::now() + shortened(outage.pause);
                outage.probing = false;
            }
            // It began before the circuit was opened, and says nothing new.
            Some(_) => {}
            None => {
                let failures = self.failures.load(Ordering::Relaxed) + 1;
                self.failures.store(failures, Ordering::Relaxed);
                if failures >= FAILURES {
                    *slot = Some(Outage::begin());
                }
            }
        }
    }

    #[cold]
    fn note_answer(&self) {
        let mut slot = self.lock();
        self.failures.store(0, Ordering::Relaxed);
        if let Some(outage) = slot.take() {
            tracing::info!(
                target: "session_schema",
                down = ?outage.since.elapsed(),
                "the session store answers again"
            );
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Outage>> {
        // Nothing that panics runs between two steps of a change.
        self.outage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outage {
    fn begin() -> Self {
        tracing::warn!(
            target: "session_schema",
            failures = FAILURES,
            "the session store is out of reach: until it answers again, what needs a session fails at once, and the store is asked by one \
             request now and then"
        );
        let since = Instant::now();
        Self {
            since,
            retry_at: since + shortened(FIRST_PAUSE),
            pause: FIRST_PAUSE,
            probing: false,
        }
    }
}

/// At random a little less, so that the servers of an application do not ask all at the same moment.
fn shortened(pause: Duration) -> Duration {
    pause.mul_f64(1.0 - fastrand::f64() / 4.0)
}

impl Permit<'_> {
    /// Says how the call went.
    pub(crate) fn report<T>(mut self, answer: &Result<T, DriverError>) {
        let probe = std::mem::take(&mut self.probe);
        match answer {
            Err(error) if error.is_unavailable() => self.circuit.note_failure(probe),
            _ if self.circuit.failures.load(Ordering::Relaxed) != 0 => self.circuit.note_answer(),
            _ => {}
        }
    }
}

/// A call that was given up, because its client has hung up, makes room for the next one.
impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if let (true, Some(outage)) = (self.probe, self.circuit.lock().as_mut()) {
            outage.probing = false;
        }
    }
}
