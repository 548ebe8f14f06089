//! The session's lock. No code of the application runs under it: no log subscriber, no clock, and no `Drop` of a
//! function given to `update`.
//!
//! A change leaves its log lines, and what it has to drop, in the state. They are handled here when the lock is free.
//! There is no other way to lock a session.

use std::ops::{Deref, DerefMut};
use std::sync::{MutexGuard, PoisonError};

use super::{Inner, Slot};

pub(super) struct Locked<'a>(Option<MutexGuard<'a, Slot>>);

impl Inner {
    #[inline]
    pub(super) fn lock(&self) -> Locked<'_> {
        // No code of the application runs under the lock, so a panic under it has left nothing half done.
        Locked(Some(self.slot.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Deref for Locked<'_> {
    type Target = Slot;

    #[inline]
    fn deref(&self) -> &Slot {
        self.0.as_ref().expect("the lock is held until this is dropped")
    }
}

impl DerefMut for Locked<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Slot {
        self.0.as_mut().expect("the lock is held until this is dropped")
    }
}

impl Drop for Locked<'_> {
    #[inline]
    fn drop(&mut self) {
        let Some(mut slot) = self.0.take() else { return };
        let afterwards = slot.state.as_mut().and_then(|state| state.take_afterwards());
        drop(slot);
        if let Some(afterwards) = afterwards {
            afterwards.run();
        }
    }
}
