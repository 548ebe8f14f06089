//! In which order calls of the store took place, as far as it can be told, and so what may be kept of their answers.
//!
//! The answer of a read may be kept if nothing changed the session between question and answer: a slow one may have been overtaken by
//! a destruction. What a write has stored may be kept if no other change of the same session was under way at any time during it: of two at once nobody can
//! say whose was the last. Both are told by counting the changes that begin and end; keys share counters, which at worst means that an answer is not kept.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::id::StoreKey;

const STRIPES: usize = 1024;

pub(super) struct Order {
    stripes: Box<[Mutex<Stripe>]>,
    hash: RandomState,
    /// How often a destruction of all sessions of an owner has begun or ended.
    sweeps: AtomicU64,
    sweeping: AtomicU64,
}

/// What happens to the keys that hash to it.
#[derive(Default)]
pub(super) struct Stripe {
    /// How often a change has begun, or ended, or was reported by the store.
    events: u64,
    under_way: u32,
}

/// When a call began.
#[derive(Clone, Copy)]
pub(super) struct Ticket {
    events: u64,
    sweeps: u64,
    alone: bool,
}

impl Order {
    pub(super) fn new() -> Self {
        Self {
            stripes: (0..STRIPES).map(|_| Mutex::default()).collect(),
            hash: RandomState::new(),
            sweeps: AtomicU64::new(0),
            sweeping: AtomicU64::new(0),
        }
    }

    /// What is done while this is held happens at one moment, for the session under `key`.
    pub(super) fn lock(&self, key: &StoreKey) -> MutexGuard<'_, Stripe> {
        let stripe = self.hash.hash_one(key) as usize % STRIPES;
        self.stripes[stripe].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A read begins.
    pub(super) fn read_begins(&self, key: &StoreKey) -> Ticket {
        self.ticket(&self.lock(key), 0)
    }

    /// A change begins.
    pub(super) fn change_begins(&self, stripe: &mut Stripe) -> Ticket {
        stripe.events += 1;
        stripe.under_way += 1;
        self.ticket(stripe, 1)
    }

    /// A change ends; says whether what it stored may be kept.
    pub(super) fn change_ends(&self, stripe: &mut Stripe, ticket: &Ticket) -> bool {
        let undisturbed = self.is_undisturbed(stripe, ticket);
        stripe.events += 1;
        stripe.under_way -= 1;
        undisturbed
    }

    /// Whether what a call has learnt is what is stored, as far as this process can know.
    pub(super) fn is_undisturbed(&self, stripe: &Stripe, ticket: &Ticket) -> bool {
        ticket.alone
            && stripe.events == ticket.events
            && self.sweeping.load(Ordering::SeqCst) == 0
            && self.sweeps.load(Ordering::SeqCst) == ticket.sweeps
    }

    fn ticket(&self, stripe: &Stripe, own: u32) -> Ticket {
        Ticket {
            events: stripe.events,
            sweeps: self.sweeps.load(Ordering::SeqCst),
            alone: stripe.under_way == own,
        }
    }

    /// While the guard lives, sessions that nobody has named are destroyed.
    pub(super) fn sweep(&self) -> Sweep<'_> {
        self.sweeping.fetch_add(1, Ordering::SeqCst);
        self.sweeps.fetch_add(1, Ordering::SeqCst);
        Sweep(self)
    }
}

impl Stripe {
    /// The session was changed elsewhere.
    pub(super) fn changed(&mut self) {
        self.events += 1;
    }
}

pub(super) struct Sweep<'a>(&'a Order);

impl Drop for Sweep<'_> {
    fn drop(&mut self) {
        self.0.sweeps.fetch_add(1, Ordering::SeqCst);
        self.0.sweeping.fetch_sub(1, Ordering::SeqCst);
    }
}
