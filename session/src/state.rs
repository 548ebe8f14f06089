//! What a request knows of its session: where it came from, what was changed, what the store is still to be told.
//!
//! Waiting (not loaded: changes are kept) -> started -> committed (no more changes). A started session is *fresh* (no record),
//! *stored*, or *lost* (its record is gone, or goes by an id that this request does not have; changes are dropped).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::backend::{Backend, Found, Stored};
use crate::changes::{Change, Changes, token_in, token_of};
use crate::draft::Draft;
use crate::error::{Error, Result};
use crate::flash::{Stamp, new_stamp};
use crate::id::SessionId;
use crate::payload::{Text, is_reserved, key};
use crate::save::{Job, Outcome, Plan};

/// Where the session of a request came from.
enum Origin {
    Waiting,
    Fresh,
    Stored(Stored),
    Lost,
}

/// What the response is to say to the browser.
#[derive(Clone, Copy, Default)]
pub(crate) enum CookieChange {
    #[default]
    Keep,
    /// Keep the id: until when, as seen from when, or until the browser is closed.
    Set(SessionId, Option<(SystemTime, SystemTime)>),
    Remove,
}

pub(crate) struct State {
    origin: Origin,
    /// The id that a new session will have, or that the stored one has or is to have.
    id: Option<SessionId>,
    draft: Draft,
    changes: Changes,
    /// Values for this request only, in front of everything else.
    shown: Vec<(Arc<str>, Text)>,
    /// Flash that ages when this request saves.
    passing: Vec<(Arc<str>, Stamp)>,
    /// `regenerate` was called: the stored session is to go by `id`.
    renewed: bool,
    /// The session that `invalidate` ended; before loading, that it is to be ended.
    ended: Option<Box<Stored>>,
    end_what_is_found: bool,
    /// How often `invalidate` was called.
    endings: u32,
    /// `invalidate` has ended a session in this request.
    has_ended: bool,
    /// No record was found: the session began with this request.
    new: bool,
    /// Its expiry is worth moving.
    touch: bool,
    cookie: CookieChange,
}

impl Default for State {
    fn default() -> Self {
        Self {
            origin: Origin::Waiting,
            id: None,
            draft: Draft::empty(),
            changes: Changes::default(),
            shown: Vec::new(),
            passing: Vec::new(),
            renewed: false,
            ended: None,
            end_what_is_found: false,
            endings: 0,
            has_ended: false,
            new: true,
            touch: false,
            cookie: CookieChange::Keep,
        }
    }
}

// Loading.
impl State {
    pub(crate) fn is_started(&self) -> bool {
        !matches!(self.origin, Origin::Waiting)
    }

    pub(crate) fn is_new(&self) -> bool {
        self.new
    }

    /// Takes what was found in the store; what was changed before is applied to it. A `speculative` request, which the visitor
    /// may never see, ages no flash and prolongs nothing.
    pub(crate) fn start(&mut self, found: Found, backend: &Backend, speculative: impl FnOnce() -> bool) -> Result<()> {
        match found {
            Found::Moved => self.lose(),
            Found::Nothing => {
                self.origin = Origin::Fresh;
                self.renewed = false;
                self.end_what_is_found = false;
            }
            Found::Session(stored, _) if self.end_what_is_found => {
                self.end(stored);
                self.origin = Origin::Fresh;
                self.renewed = false;
                self.end_what_is_found = false;
            }
            Found::Session(stored, now) => self.start_with(stored, backend, now, speculative)?,
        }
        Ok(())
    }

    fn start_with(
        &mut self,
        stored: Stored,
        backend: &Backend,
        now: SystemTime,
        speculative: impl FnOnce() -> bool,
    ) -> Result<()> {
        let mut draft = Draft::of(&stored.record);
        let passing = draft.flash.passing(draft.base());
        let mut touch = backend.settings.moved_expiry(&stored.record, &draft, now).is_some();
        let mut aging = !passing.is_empty() || draft.flash.is_changed();
        if (aging || touch) && speculative() {
            (touch, aging) = (false, false);
        }
        backend.settings.note_beginning(&mut draft, now);
        let mut changes = Changes::default();
        for change in self.changes.iter() {
            changes.make(change.clone(), &mut draft)?;
        }
        self.passing = if aging { passing } else { Vec::new() };
        (self.draft, self.changes, self.touch) = (draft, changes, touch);
        match self.renewed {
            true => self.rotate_token()?,
            false => self.id = Some(stored.id),
        }
        self.new = false;
        self.origin = Origin::Stored(stored);
        Ok(())
    }

    /// The session in the store, as this request knows it.
    pub(crate) fn stored(&self) -> Option<&Stored> {
        match &self.origin {
            Origin::Stored(stored) => Some(stored),
            _ => None,
        }
    }

    /// How often `invalidate` was called.
    pub(crate) fn endings(&self) -> u32 {
        self.endings
    }

    /// Goes on from what the store has now: `None` when the session is gone. If it has been ended since the store was asked, when
    /// there had been so many `endings`, that stands.
    pub(crate) fn rebase(&mut self, newest: Option<Stored>, endings: u32) -> Result<()> {
        if self.endings != endings {
            return Ok(());
        }
        let Some(stored) = newest else {
            self.lose();
            return Ok(());
        };
        let mut draft = Draft::of(&stored.record);
        let mut changes = Changes::default();
        for change in self.unsaved(&stored) {
            changes.make(change.clone(), &mut draft)?;
        }
        (self.draft, self.changes) = (draft, changes);
        self.take_on(stored);
        Ok(())
    }

    /// What is still to be saved to a session.
    fn unsaved(&self, stored: &Stored) -> impl Iterator<Item = &Change> {
        let is_void = |change: &Change| stored.joined && change.is_void_under_new_id(&stored.id);
        self.changes.iter().filter(move |change| !is_void(change))
    }

    /// The session is stored like this. One that another request has given a new id keeps that one.
    fn take_on(&mut self, stored: Stored) {
        if stored.joined {
            self.id = Some(stored.id);
            self.renewed = false;
            self.withdraw_id();
        }
        self.origin = Origin::Stored(stored);
    }

    /// The record is gone. What was changed has no place any more.
    fn lose(&mut self) {
        if !self.changes.is_empty() {
            tracing::warn!(target: "session_schema", "changes of a session that has been destroyed or goes by a new id are dropped");
        }
        self.origin = Origin::Lost;
        self.forget_everything();
        self.new = true;
        self.withdraw_id();
    }

    /// The browser must not be told an id that has gone, or been given up: it may have a better one meanwhile.
    fn withdraw_id(&mut self) {
        self.cookie = match self.has_ended {
            true => CookieChange::Remove,
            false => CookieChange::Keep,
        };
    }

    fn forget_everything(&mut self) {
        self.draft = Draft::empty();
        self.changes.clear();
        self.shown.clear();
        self.passing.clear();
        self.renewed = false;
        self.touch = false;
    }
}

// Reading.
impl State {
    pub(crate) fn peek(&self, key: &str) -> Option<Text> {
        if is_reserved(key) {
            return None;
        }
        match self.shown_at(key) {
            Some(at) => Some(self.shown[at].1.clone()),
            None => self.draft.text(key),
        }
    }

    fn shown_at(&self, key: &str) -> Option<usize> {
        self.shown.iter().position(|(shown, _)| **shown == *key)
    }

    /// Every application key with its JSON text, sharing what is stored.
    pub(crate) fn entries(&self) -> Vec<(String, Text)> {
        let stored = self
            .draft
            .entries()
            .filter(|(key, _)| self.shown_at(key).is_none())
            .filter_map(|(key, _)| Some((key.to_owned(), self.draft.text(key)?)));
        let shown = self.shown.iter().map(|(key, text)| (key.to_string(), text.clone()));
        stored.chain(shown).collect()
    }

    /// Every application key whose value is another than when it was loaded.
    #[cfg(feature = "testing")]
    pub(crate) fn changed(&self) -> Vec<(String, Option<Text>)> {
        let keys = self.draft.edited_keys().filter(|key| !is_reserved(key));
        keys.map(|key| (key.to_owned(), self.draft.text(key))).collect()
    }

    pub(crate) fn owner(&self) -> Option<String> {
        self.draft.owner.as_deref().map(str::to_owned)
    }

    pub(crate) fn known_id(&self) -> Option<SessionId> {
        self.id
    }

    /// The id; a fresh session gets one now.
    pub(crate) fn id(&mut self) -> Result<SessionId> {
        match self.id {
            Some(id) => Ok(id),
            None => self.new_id(),
        }
    }

    fn new_id(&mut self) -> Result<SessionId> {
        let id = SessionId::generate()?;
        self.id = Some(id);
        Ok(id)
    }
}

// Changing.
impl State {
    /// Makes a change under one key. What was shown there for this request only is not in front of it any more, but counts
    /// as what was there.
    pub(crate) fn change(&mut self, key: &str, change: impl FnOnce(Arc<str>) -> Change) -> Result<()> {
        let key: Arc<str> = key.into();
        let change = change(key.clone());
        if let Some(at) = self.shown_at(&key) {
            let before = Change::Put(key, (*self.shown[at].1).into());
            let (mut draft, mut changes) = (self.draft.clone(), self.changes.clone());
            changes.make(before, &mut draft)?;
            changes.make(change, &mut draft)?;
            (self.draft, self.changes) = (draft, changes);
            self.shown.remove(at);
            return Ok(());
        }
        self.make(change)
    }

    /// Makes a change that concerns no key in particular.
    pub(crate) fn make(&mut self, change: Change) -> Result<()> {
        self.changes.make(change, &mut self.draft)
    }

    pub(crate) fn put(&mut self, key: &str, text: String) -> Result<()> {
        let unchanged = self.is_kept(key) && self.draft.get(key).is_some_and(|now| crate::codec::same(&text, now));
        match unchanged {
            true => Ok(()),
            false => self.change(key, |key| Change::Put(key, text.into())),
        }
    }

    pub(crate) fn forget(&mut self, key: &str) -> Result<()> {
        // Before it is loaded, a session only seems to have nothing there.
        let absent = self.is_started() && self.is_kept(key) && self.draft.get(key).is_none();
        match absent {
            true => Ok(()),
            false => self.change(key, Change::Forget),
        }
    }

    /// Whether what is under a key is neither flash nor for this request only.
    fn is_kept(&self, key: &str) -> bool {
        self.shown_at(key).is_none() && self.draft.flash.find(key).is_none()
    }

    pub(crate) fn flash(&mut self, key: &str, text: String, until_read: bool) -> Result<()> {
        self.change(key, |key| Change::Flash {
            key,
            text: text.into(),
            stamp: new_stamp(),
            until_read,
        })
    }

    pub(crate) fn now(&mut self, key: &str, text: String) {
        let text = Text::Whole(text.into());
        match self.shown_at(key) {
            Some(at) => self.shown[at].1 = text,
            None => self.shown.push((key.into(), text)),
        }
    }

    /// Keeps a flash key for one more request; whatever is not flash stays what it is.
    pub(crate) fn keep(&mut self, key: &str) -> Result<()> {
        if let Some(at) = self.shown_at(key) {
            let (_, text) = self.shown.remove(at);
            return self.flash(key, text.to_string(), false);
        }
        let passing = |(passing, seen): &(Arc<str>, Stamp)| {
            **passing == *key && self.draft.flash.find(key).is_some_and(|(stamp, _)| stamp == *seen)
        };
        let Some(at) = self.passing.iter().position(passing) else {
            return Ok(());
        };
        let Some(text) = self.draft.text(key) else {
            return Ok(());
        };
        let (key, seen) = self.passing.remove(at);
        self.make(Change::Keep {
            key,
            text: (*text).into(),
            seen,
            stamp: new_stamp(),
        })
    }

    pub(crate) fn reflash(&mut self) -> Result<()> {
        let shown = self.shown.iter().map(|(key, _)| key.clone());
        let keys: Vec<_> = shown.chain(self.draft.flash.keys()).collect();
        keys.iter().try_for_each(|key| self.keep(key))
    }

    /// Notes that a flash that stays until it is read has been read.
    pub(crate) fn mark_read(&mut self, key: &str) {
        if let Some((stamp, true)) = self.draft.flash.find(key)
            && !self.passing.iter().any(|(passing, _)| **passing == *key)
        {
            self.passing.push((key.into(), stamp));
        }
    }

    pub(crate) fn flush(&mut self) -> Result<()> {
        self.shown.clear();
        self.make(Change::Flush(random_token()?))
    }

    pub(crate) fn remove_all(&mut self) -> Result<()> {
        self.shown.clear();
        self.make(Change::RemoveAll)
    }

    /// The CSRF token. The first one of a session follows from its id, so that two requests that ask for it at the same time
    /// get the same, and the pages of both work.
    pub(crate) fn token(&mut self, may_change: bool) -> Result<String> {
        if let Some(token) = token_in(&self.draft) {
            return Ok(token);
        }
        let id = self.id()?;
        let none_before = self.draft.base().get(key::TOKEN).is_none() && !self.changes.iter().any(renews_token);
        let first = none_before && !self.stored().is_some_and(|stored| stored.joined);
        let token: Arc<str> = match first {
            true => token_of(&id).into(),
            false => random_token()?,
        };
        if may_change {
            self.make(Change::FirstToken(token.clone()))?;
        }
        Ok(token.to_string())
    }

    pub(crate) fn regenerate_token(&mut self) -> Result<()> {
        self.make(Change::Token(random_token()?))
    }

    fn rotate_token(&mut self) -> Result<()> {
        let id = self.id()?;
        // Where there is a record, another request may be giving it its first token at this moment.
        match self.renewed || token_in(&self.draft).is_some() {
            true => self.make(Change::RotatedToken(token_of(&id).into())),
            false => Ok(()),
        }
    }

    pub(crate) fn regenerate(&mut self) -> Result<()> {
        let has_record = match &self.origin {
            Origin::Stored(stored) if stored.joined => return Ok(()),
            Origin::Stored(_) | Origin::Waiting => true,
            Origin::Fresh | Origin::Lost => false,
        };
        self.new_id()?;
        self.renewed = has_record;
        self.rotate_token()
    }

    pub(crate) fn invalidate(&mut self) -> Result<()> {
        self.new_id()?;
        self.forget_everything();
        self.endings += 1;
        match std::mem::replace(&mut self.origin, Origin::Fresh) {
            Origin::Stored(stored) => {
                self.end(stored);
            }
            Origin::Waiting => {
                self.end_what_is_found = true;
                self.origin = Origin::Waiting;
            }
            Origin::Lost => self.origin = Origin::Lost,
            Origin::Fresh => {}
        }
        self.new = true;
        Ok(())
    }

    fn end(&mut self, stored: Stored) {
        self.ended = Some(Box::new(stored));
        self.has_ended = true;
        self.cookie = CookieChange::Remove;
    }

    pub(crate) fn set_lifetime(&mut self, lifetime: Option<Duration>) -> Result<()> {
        self.make(Change::Lifetime(lifetime))
    }
}

fn renews_token(change: &Change) -> bool {
    matches!(change, Change::Flush(_) | Change::Token(_))
}

/// A CSRF token that nothing tells in advance.
fn random_token() -> Result<Arc<str>> {
    SessionId::generate().map(|id| token_of(&id).into())
}

// Saving.
impl State {
    /// Whether there is something to tell the store or the browser.
    pub(crate) fn is_settled(&self) -> bool {
        let nothing_changed = self.changes.is_empty() && !self.draft.has_edits() && !self.draft.flash.is_changed();
        let nothing_due = self.passing.is_empty() && !self.touch && !self.renewed && self.ended.is_none();
        nothing_changed && nothing_due && !self.end_what_is_found && matches!(self.cookie, CookieChange::Keep)
    }

    /// Whether there are changes that no save has been asked to store.
    pub(crate) fn has_unsaved(&self) -> bool {
        let kept = !matches!(self.origin, Origin::Lost);
        kept && !self.changes.is_empty() && (self.draft.has_edits() || !self.is_started()) || self.ended.is_some()
    }

    /// Whether a session that was never loaded has something to save.
    pub(crate) fn is_idle(&self) -> bool {
        !self.is_started() && self.changes.is_empty() && !self.end_what_is_found && !self.renewed
    }

    pub(crate) fn cookie(&self) -> CookieChange {
        self.cookie
    }

    /// What a save has to do now. The changes go with it; [`settle`](State::settle) says what becomes of them. An error means that the
    /// changes cannot be stored and stay to be saved; a session that was ended is destroyed all the same.
    pub(crate) fn plan(&mut self, backend: &Backend, now: SystemTime, may_tell_an_id: bool) -> (Job, Result<()>) {
        let (plan, refused) = match self.next_step(backend, now) {
            Ok(Plan::Create { .. } | Plan::Renew { .. }) if !may_tell_an_id => {
                (Plan::Nothing, Err(Error::no_more_cookie()))
            }
            Ok(plan) => (plan, Ok(())),
            Err(error) => (Plan::Nothing, Err(error)),
        };
        // Changes that come to nothing are done, as if they had been saved when the session was loaded. What a session without a
        // record has been told, such as its lifetime, waits until there is something to store.
        let changes = match (&plan, &self.origin) {
            (Plan::Nothing, Origin::Waiting | Origin::Fresh) => Changes::default(),
            _ if refused.is_err() => Changes::default(),
            _ => std::mem::take(&mut self.changes),
        };
        let ended = self.ended.take();
        let job = Job {
            id: self.id,
            endings: self.endings,
            ended,
            plan,
            changes,
            now,
        };
        (job, refused)
    }

    fn next_step(&mut self, backend: &Backend, now: SystemTime) -> Result<Plan> {
        self.age()?;
        self.draft.seal();
        Ok(match &self.origin {
            Origin::Lost if self.changes.is_empty() => Plan::Nothing,
            Origin::Lost => Plan::Drop,
            Origin::Waiting | Origin::Fresh if self.draft.is_empty() => Plan::Nothing,
            Origin::Waiting | Origin::Fresh => Plan::Create {
                id: self.id()?,
                record: backend.record_of(&mut self.draft, None, now)?,
            },
            Origin::Stored(stored) if self.renewed => {
                let stored = stored.clone();
                let id = self.id()?;
                let record = backend.record_of(&mut self.draft, None, now)?;
                Plan::Renew { stored, id, record }
            }
            Origin::Stored(stored) if self.draft.has_edits() => Plan::Replace {
                record: backend.record_of(&mut self.draft, Some(&stored.record), now)?,
                stored: stored.clone(),
            },
            Origin::Stored(stored) if self.touch => Plan::Touch {
                stored: stored.clone(),
                until: backend.settings.expiry(&self.draft, now),
            },
            Origin::Stored(_) => Plan::Nothing,
        })
    }

    /// Removes the flash that this request was the last to see; the request itself goes on seeing it.
    fn age(&mut self) -> Result<()> {
        let mut passing = std::mem::take(&mut self.passing);
        passing.retain(|(key, seen)| self.draft.flash.find(key).is_some_and(|(stamp, _)| stamp == *seen));
        if passing.is_empty() {
            return Ok(());
        }
        for (key, _) in &passing {
            if let (None, Some(text)) = (self.shown_at(key), self.draft.text(key)) {
                self.shown.push((key.clone(), text));
            }
        }
        self.make(Change::Age(passing))
    }

    /// Takes note of how a save went. What it did not get done stays to be done.
    pub(crate) fn settle(&mut self, job: Job, outcome: Result<Outcome>, backend: &Backend) -> Result<()> {
        if self.endings != job.endings {
            return self.settle_ended(job, outcome);
        }
        let Job {
            id,
            ended,
            plan,
            changes,
            now,
            ..
        } = job;
        match outcome {
            Err(error) => {
                self.ended = ended;
                self.changes.put_back(changes);
                // Nobody can say whether a record was made, nor whether another request has ended it already: the next try
                // takes another id, so as not to bring that back.
                if let (true, Plan::Create { .. } | Plan::Renew { .. }) = (self.id == id, plan) {
                    self.id = None;
                }
                Err(error)
            }
            Ok(Outcome::Gone) => {
                tracing::info!(target: "session_schema", "a session was destroyed while a request used it; what the request changed is dropped");
                self.lose();
                Ok(())
            }
            Ok(Outcome::AsItWas) => {
                if let Plan::Drop = plan {
                    tracing::warn!(target: "session_schema", "changes of a session that has been destroyed or goes by a new id are dropped");
                    self.draft = Draft::empty();
                }
                Ok(())
            }
            Ok(Outcome::Stored(stored)) => self.settle_on(stored, id, &plan, now, backend),
        }
    }

    /// The session was ended while it was saved: what the save has stored is to end, too.
    fn settle_ended(&mut self, job: Job, outcome: Result<Outcome>) -> Result<()> {
        match outcome {
            Ok(Outcome::Stored(stored)) => self.end(stored),
            Ok(Outcome::Gone | Outcome::AsItWas) => {}
            Err(error) => {
                self.ended = self.ended.take().or(job.ended);
                return Err(error);
            }
        }
        Ok(())
    }

    /// `planned` is the id that the session had, or was to have, when the save began.
    fn settle_on(
        &mut self,
        stored: Stored,
        planned: Option<SessionId>,
        plan: &Plan,
        now: SystemTime,
        backend: &Backend,
    ) -> Result<()> {
        let until = backend.settings.cookie_expiry(&stored.record);
        let told = match plan {
            Plan::Replace { stored, .. } | Plan::Touch { stored, .. } => {
                until == backend.settings.cookie_expiry(&stored.record)
            }
            _ => false,
        };
        if !told {
            self.cookie = CookieChange::Set(stored.id, until.map(|until| (now, until)));
        }
        // What was changed while the save ran.
        let (mut draft, mut later) = (Draft::of(&stored.record), Changes::default());
        let mut first_error = Ok(());
        for change in self.unsaved(&stored) {
            if let Err(error) = later.make(change.clone(), &mut draft) {
                first_error = first_error.and(Err(error));
            }
        }
        (self.draft, self.changes) = (draft, later);
        self.touch = false;
        if self.id == planned {
            self.id = Some(stored.id);
            self.renewed = false;
        } else {
            // `regenerate` was called while the save ran.
            self.renewed = true;
        }
        self.take_on(stored);
        first_error
    }
}
