//! What the store may hold, and what a request may see, write and answer: DESIGN sections 3, 6 and 7 as a state machine.
//!
//! The linearisation is given: the instrumented driver reports every call in the order in which it took effect. So nothing is
//! guessed here; each effect is either what the rules make of the state before it, or a violation.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};
use session_schema::{ErrorKind, Expected, Record, SessionId, StoreKey, Written};

use crate::rules::{Change, Content, Key, Message, Stored, Token, apply_all, apply_each, apply_to_nothing};

/// How long a session lives without use.
pub(crate) const LIFETIME: Duration = Duration::from_secs(7200);
/// How long who came with an id that was given up may follow to the new one.
const GRACE: Duration = Duration::from_secs(30);

/// A place in the store, and all that has ever been there: no place is used twice.
#[derive(Debug)]
pub(crate) struct Slot {
    key: StoreKey,
    state: State,
    content: Content,
    record: Record,
    expires_at: SystemTime,
    /// The request that wrote there first.
    maker: usize,
    touched: bool,
    /// Its maker had it for a new id, and took it back.
    given_up: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    /// Written by this request, which is giving a session a new id; nobody else knows of it.
    Unborn(usize),
    Live,
    /// The session goes by another id.
    Moved {
        to: usize,
        until: SystemTime,
    },
    Dead,
}

/// What a request knows of its session.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Origin {
    Unloaded,
    Fresh,
    Stored {
        slot: usize,
    },
    /// It has ended, or goes by an id that the request was not given.
    Lost,
}

/// What the response says to the browser.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum CookieIs {
    #[default]
    Kept,
    Set(usize),
    Removed,
}

#[derive(Debug, Default)]
pub(crate) struct Request {
    origin: Option<Origin>,
    base: Content,
    base_expiry: Option<SystemTime>,
    pub(crate) view: Content,
    /// For this request only, in front of what is stored.
    pub(crate) shown: HashMap<Key, Value>,
    pending: Vec<Change>,
    passing: Vec<(Key, Message)>,
    renewed: bool,
    /// The owner of a session that is lost, and why what is changed is refused instead of being dropped.
    lost_owner: Option<&'static str>,
    lost_slot: Option<usize>,
    refused: Option<ErrorKind>,
    renewals: u32,
    endings: u32,
    endings_at_reload: u32,
    phase: Phase,
    /// Some change was dropped because it does not fit.
    has_misfit: bool,
    ended: Option<Ended>,
    has_ended: bool,
    touch: bool,
    cookie: CookieIs,
    /// The time at which the store was first asked.
    asked_at: Option<SystemTime>,
    /// What the last answer of the driver has shown.
    found: Option<Found>,
    /// A call of the driver has failed since the session was last asked for something.
    fault: bool,
    save: Option<Save>,
    pub(crate) hung_up: bool,
    /// The session that the request was about to give a new id has ended under that id: with all others of its owner, or by another request.
    overruled: bool,
    /// A call failed, so that it may have left a record half done.
    orphan_is_excused: bool,
    /// It is no request, but ends the sessions of an owner.
    ending: Option<Ending>,
}

/// A session that its request has ended.
#[derive(Clone, Copy, Debug)]
struct Ended {
    slot: usize,
    /// Whose it was when it was loaded.
    owner: Option<&'static str>,
    /// By naming another owner: where the same one is named again, it must still be there.
    by_owner: bool,
}

/// All sessions of an owner are being ended.
#[derive(Clone, Debug)]
struct Ending {
    owner: &'static str,
    begun: SystemTime,
    /// The session that is to be spared, as long as it goes by this id: who has given it another one may be somebody else.
    spared: Option<usize>,
    /// Sessions that have been the owner's ever since: they have to end.
    bound: Vec<usize>,
    ended: u64,
}

/// How far a request is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Phase {
    #[default]
    Open,
    /// The handler has returned; a task that it left behind may change nothing.
    Closed,
    /// That task has read the session anew, and goes on with it.
    Detached,
}

/// What was in a slot when it was read.
#[derive(Clone, Debug)]
struct Found {
    slot: usize,
    state: State,
    content: Content,
    expires_at: SystemTime,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Nothing,
    Drop,
    Create,
    Replace,
    Renew,
    Touch,
    /// An earlier save has decided on the cookie, or the same owner was named again: is the session still there?
    Confirm,
    /// An earlier save was refused, or a sign-in.
    Refuse(ErrorKind),
}

/// A save that is under way.
#[derive(Debug)]
struct Save {
    kind: Kind,
    /// What is saved; what is changed from now on is not.
    changes: Vec<Change>,
    /// What the request sees then.
    view: Content,
    /// What the request knew of its session, how often it had ended one and how often given one a new id.
    origin: Origin,
    endings: u32,
    renewals: u32,
    phase: Phase,
    now: SystemTime,
    ended: Option<Ended>,
    /// The browser hears of it in the response.
    for_response: bool,
    /// The ended session was there, or has another owner by now, whose browser must not forget it.
    ended_live: bool,
    is_anothers: bool,
    /// Whose session it was when it was loaded, and what was last seen in its place.
    owner: Option<&'static str>,
    seen: Vec<Content>,
    /// Where its new records are: behind what an earlier save may have left.
    slots: usize,
    /// The session had ended before the new record was written.
    ended_before: bool,
    /// The new record was not found any more.
    unborn_is_gone: bool,
    /// What took effect, and whether the request has been told.
    effect: Option<Effect>,
    told: bool,
    /// An effect has settled the save, even if the request was told that it failed.
    fulfilled: bool,
    fault: bool,
    may_misfit: bool,
    conflicts: u32,
}

#[derive(Clone, Debug)]
struct Effect {
    found: Found,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum What {
    Stored,
    Renewed,
    Touched,
}

/// What histories have led to, to know that every rule has been at work.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) writes: u64,
    pub(crate) conflicts: u64,
    pub(crate) most_conflicts: u32,
    pub(crate) renewed: u64,
    pub(crate) joined: u64,
    pub(crate) lost_regenerations: u64,
    pub(crate) ended: u64,
    pub(crate) gone: u64,
    pub(crate) dropped: u64,
    pub(crate) misfits: u64,
    pub(crate) touched: u64,
    pub(crate) aged: u64,
    pub(crate) orphans: u64,
    pub(crate) finished_alone: u64,
    pub(crate) ended_of_owner: u64,
    pub(crate) superseded: u64,
    pub(crate) sign_ins_refused: u64,
    pub(crate) own_sessions: u64,
    pub(crate) own_changes_only: u64,
    pub(crate) changes_of_owner: u64,
    pub(crate) confirmed: u64,
}

pub(crate) struct Model {
    slots: Vec<Slot>,
    by_key: HashMap<StoreKey, usize>,
    pub(crate) requests: Vec<Request>,
    pub(crate) now: SystemTime,
    /// What a regeneration's token turned out to be.
    rotated: HashMap<u32, String>,
    /// The first token of an id.
    first: HashMap<String, String>,
    /// Who has seen which token.
    seen: HashMap<String, usize>,
    numbers: u32,
    /// Where those who end an owner's sessions say so: what is done there is none of a session's.
    notices: Vec<StoreKey>,
    /// One of them may have been left there by who failed.
    notice_is_left: bool,
    /// When the concurrent requests began.
    pub(crate) begun: Option<SystemTime>,
    /// The first violation of a rule.
    pub(crate) violation: Option<String>,
    pub(crate) trace: Option<Vec<String>>,
    pub(crate) counts: Counts,
}

impl Counts {
    /// Everything that is counted by adding.
    pub(crate) fn each(&mut self) -> [&mut u64; 20] {
        let Self {
            writes,
            conflicts,
            most_conflicts: _,
            renewed,
            joined,
            lost_regenerations,
            ended,
            gone,
            dropped,
            misfits,
            touched,
            aged,
            orphans,
            finished_alone,
            ended_of_owner,
            superseded,
            sign_ins_refused,
            own_sessions,
            own_changes_only,
            changes_of_owner,
            confirmed,
        } = self;
        [
            writes,
            conflicts,
            renewed,
            joined,
            lost_regenerations,
            ended,
            gone,
            dropped,
            misfits,
            touched,
            aged,
            orphans,
            finished_alone,
            ended_of_owner,
            superseded,
            sign_ins_refused,
            own_sessions,
            own_changes_only,
            changes_of_owner,
            confirmed,
        ]
    }
}

impl Model {
    pub(crate) fn new(now: SystemTime) -> Self {
        Self {
            slots: Vec::new(),
            by_key: HashMap::new(),
            requests: Vec::new(),
            now,
            rotated: HashMap::new(),
            first: HashMap::new(),
            seen: HashMap::new(),
            numbers: 0,
            notices: Vec::new(),
            notice_is_left: false,
            begun: None,
            violation: None,
            trace: None,
            counts: Counts::default(),
        }
    }

    pub(crate) fn violate(&mut self, what: impl Into<String>) {
        let what = what.into();
        self.note(|| format!("VIOLATION {what}"));
        self.violation.get_or_insert(what);
    }

    pub(crate) fn note(&mut self, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(what());
        }
    }

    fn check(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.violate(what());
        }
    }

    pub(crate) fn number(&mut self) -> u32 {
        self.numbers += 1;
        self.numbers
    }

    pub(crate) fn slot_of(&self, key: &StoreKey) -> Option<usize> {
        self.by_key.get(key).copied()
    }
}

// What a slot is to who comes with its id.
impl Model {
    /// Whether the store has something there.
    fn is_present(&self, slot: usize) -> bool {
        let slot = &self.slots[slot];
        slot.state != State::Dead && self.now < slot.expires_at
    }

    fn is_live(&self, slot: usize) -> bool {
        self.slots[slot].state == State::Live && self.is_present(slot)
    }

    /// Where a session is now that was in `slot`; `None` when it is gone for who asks at `now`.
    fn follow(&self, mut slot: usize, now: SystemTime) -> Option<usize> {
        loop {
            match self.slots[slot].state {
                State::Moved { to, until } if now < until && self.is_present(slot) => slot = to,
                _ if self.is_live(slot) && now < self.slots[slot].expires_at => return Some(slot),
                _ => return None,
            }
        }
    }

    /// Whether a session that was in `slot` is still there, whatever its id and owner.
    fn lives_on(&self, mut slot: usize) -> bool {
        while let State::Moved { to, .. } = self.slots[slot].state
            && self.is_present(slot)
        {
            slot = to;
        }
        self.is_live(slot)
    }

    pub(crate) fn is_unborn(&self, key: &StoreKey) -> bool {
        let slot = self.slot_of(key).map(|slot| self.slots[slot].state);
        matches!(slot, Some(State::Unborn(_)))
    }

    /// Whether a session that was in `slot` may be treated as gone.
    fn may_be_gone(&self, slot: usize, now: SystemTime) -> bool {
        self.follow(slot, now.max(self.now)).is_none()
    }

    fn lifetime_of(content: &Content) -> Duration {
        content.lifetime.map_or(LIFETIME, Duration::from_secs)
    }

    /// Compares a record with what it has to be; tokens that nobody has seen become known.
    fn compare(&mut self, content: &mut Content, record: &Record, writer: usize) {
        let found: Map<String, Value> = match serde_json::from_slice(record.payload()) {
            Ok(found) => found,
            Err(_) => return self.violate("a record is no JSON object"),
        };
        let mut values = 0;
        for (key, value) in found.iter().filter(|(key, _)| !key.starts_with('_')) {
            values += 1;
            let wanted = content.values.get(key.as_str()).cloned();
            self.check(wanted.as_ref() == Some(value), || {
                format!("stored under `{key}` is {value}, it has to be {wanted:?}")
            });
        }
        let wanted = content.values.clone();
        self.check(values == wanted.len(), || {
            format!("of {wanted:?} only {values} are stored")
        });
        self.compare_flash(content, &found);
        let token = found.get("_token").and_then(Value::as_str).map(str::to_owned);
        match (&content.token, token) {
            (None, None) => {}
            (Some(expected), Some(token)) => {
                let expected = expected.clone();
                self.token_is(&expected, &token, writer);
                content.token = Some(Token::Is(token));
            }
            (expected, token) => {
                let there = |is: bool| if is { "a" } else { "no" };
                let (stored, wanted) = (there(token.is_some()), there(expected.is_some()));
                self.violate(format!("stored is {stored} CSRF token, it has to be {wanted} token"));
            }
        }
        let lifetime = found.get("_lifetime").and_then(Value::as_u64);
        let wanted = content.lifetime.map(|seconds| seconds * 1000);
        self.check(lifetime == wanted, || {
            format!("the own lifetime is {lifetime:?}, not {wanted:?}")
        });
        let (owner, wanted) = (record.owner(), content.owner);
        self.check(owner == wanted, || format!("the owner is {owner:?}, not {wanted:?}"));
    }

    fn compare_flash(&mut self, content: &Content, found: &Map<String, Value>) {
        let list = |name| -> Vec<&str> {
            let list = found.get(name).and_then(Value::as_array);
            list.into_iter().flatten().filter_map(Value::as_str).collect()
        };
        let mut old = list("_flash.old");
        old.sort_unstable();
        let wanted: Vec<Key> = content.flash.keys().copied().collect();
        self.check(old == wanted, || format!("flash are {old:?}, not {wanted:?}"));
        let new = list("_flash.new");
        self.check(new.is_empty(), || format!("{new:?} have not aged"));
    }

    /// A token has turned out to be this text.
    fn token_is(&mut self, token: &Token, text: &str, request: usize) {
        let wanted = match token {
            Token::Is(wanted) => wanted.clone(),
            Token::New(number) => match self.rotated.get(number) {
                Some(wanted) => wanted.clone(),
                None => {
                    let new = self.seen.get(text).is_none_or(|by| *by == request);
                    self.check(new, || "the token of a regenerated session is an old one".into());
                    self.rotated.insert(*number, text.to_owned());
                    text.to_owned()
                }
            },
        };
        self.seen.entry(text.to_owned()).or_insert(request);
        self.check(text == wanted, || "the CSRF token is another one".into());
    }
}

// What a request does with its session.
impl Model {
    pub(crate) fn arrive(&mut self) -> usize {
        self.requests.push(Request::default());
        self.requests.len() - 1
    }

    fn origin(&self, request: usize) -> Origin {
        self.requests[request].origin.unwrap_or(Origin::Unloaded)
    }

    /// What the request knew of its session when it began to save it.
    fn saving_from(&self, request: usize) -> Origin {
        let save = self.requests[request].save.as_ref();
        save.map_or_else(|| self.origin(request), |save| save.origin)
    }

    pub(crate) fn begin_load(&mut self, request: usize) {
        let now = self.now;
        let request = &mut self.requests[request];
        (request.asked_at, request.found, request.fault) = (Some(now), None, false);
    }

    pub(crate) fn end_load(&mut self, request: usize, result: Result<(), ErrorKind>) {
        let loaded = &mut self.requests[request];
        let now = loaded.asked_at.unwrap_or(self.now);
        let fault = loaded.fault;
        match (result, loaded.found.take()) {
            (Ok(()), Some(found)) => match found.state {
                State::Moved { until, .. } if now < until => loaded.origin = Some(Origin::Lost),
                State::Live if now < found.expires_at => loaded.start_with(found, now),
                _ => loaded.origin = Some(Origin::Fresh),
            },
            (Ok(()), None) => loaded.origin = Some(Origin::Fresh),
            (Err(_), _) => {}
        }
        let reason = match result {
            Ok(()) => !fault,
            Err(kind) => fault && kind == ErrorKind::Unavailable,
        };
        self.check(reason, || format!("the store failed: {fault}, loading says {result:?}"));
    }

    /// Makes changes in the request's own eyes; says whether they fit.
    pub(crate) fn make(&mut self, request: usize, changes: Vec<Change>) -> bool {
        let request = &mut self.requests[request];
        let to = Stored {
            joined: false,
            has_token: request.base.token.is_some(),
        };
        let applied = apply_each(&changes, &request.view, to);
        if !applied.has_misfit {
            request.view = applied.content;
            request.pending.extend(changes);
        }
        !applied.has_misfit
    }

    /// The value under a key, as the request sees it.
    pub(crate) fn value(&self, request: usize, key: Key) -> Option<Value> {
        let request = &self.requests[request];
        request.shown.get(key).or(request.view.values.get(key)).cloned()
    }

    pub(crate) fn keep(&mut self, request: usize, key: Key) {
        let message = self.number();
        if let Some(value) = self.requests[request].shown.remove(key) {
            self.make(request, vec![Change::Flash(key, value, message)]);
            return;
        }
        let seen = &mut self.requests[request];
        let Some(&flash) = seen.view.flash.get(key) else { return };
        let Some(at) = seen.passing.iter().position(|passing| *passing == (key, flash)) else {
            return;
        };
        seen.passing.remove(at);
        let value = seen.view.values[key].clone();
        self.make(request, vec![Change::Keep(key, value, flash, message)]);
    }

    /// The token that a request was given.
    pub(crate) fn token(&mut self, request: usize, token: &str, id: &SessionId) {
        self.check(token.len() == 40, || "a CSRF token has 40 characters".into());
        self.check_hidden(request, token);
        if let Some(wanted) = self.requests[request].view.token.clone() {
            return self.token_is(&wanted, token, request);
        }
        let asked = &self.requests[request];
        let renews = |change: &Change| matches!(change, Change::Flush(_) | Change::NewToken(_));
        let saving = asked.save.as_ref().filter(|save| save.endings == asked.endings);
        let unsaved = &asked.pending[saving.map_or(0, |save| save.changes.len())..];
        let first = asked.base.token.is_none() && !unsaved.iter().any(renews);
        if first {
            // Two requests that ask for the first token at the same time get the same.
            let wanted = self
                .first
                .entry(id.as_str().to_owned())
                .or_insert_with(|| token.to_owned())
                .clone();
            self.check(wanted == token, || "two first tokens of one session differ".into());
        }
        self.seen.entry(token.to_owned()).or_insert(request);
        self.make(request, vec![Change::FirstToken(token.to_owned())]);
    }

    /// The token that came with a new id is not shown to who goes on under the old one.
    fn check_hidden(&mut self, request: usize, token: &str) {
        let Origin::Stored { slot } = self.origin(request) else {
            return;
        };
        let State::Moved { to, .. } = self.slots[slot].state else {
            return;
        };
        // What it has given a new id itself is its own.
        if self.slots[to].maker == request {
            return;
        }
        let new = self.follow(slot, self.now).map(|new| &self.slots[new].content.token);
        let shown = new == Some(&Some(Token::Is(token.to_owned())));
        self.check(!shown, || {
            "the token of a session under its new id is shown under the old one".into()
        });
    }

    pub(crate) fn regenerate_token(&mut self, request: usize, token: &str) {
        self.check(!self.seen.contains_key(token), || {
            "a new CSRF token is an old one".into()
        });
        self.seen.insert(token.to_owned(), request);
        self.make(request, vec![Change::NewToken(token.to_owned())]);
    }

    pub(crate) fn regenerate(&mut self, request: usize) {
        if !self.may_renew(request) {
            return;
        }
        let number = self.number();
        let origin = self.origin(request);
        let renewing = &mut self.requests[request];
        if origin == Origin::Lost {
            renewing.origin = Some(Origin::Fresh);
        }
        renewing.renewals += 1;
        // One that is being stored at this moment has been told an id already.
        let is_stored = matches!(origin, Origin::Stored { .. });
        renewing.renewed = is_stored || renewing.save.as_ref().is_some_and(|save| save.kind == Kind::Create);
        self.make(request, vec![Change::Rotate(number)]);
    }

    /// From nobody to somebody: a new id. From somebody to anybody else: the end, followed by the request's own changes.
    pub(crate) fn set_owner(&mut self, request: usize, owner: Option<&'static str>) {
        let present = self.owner_of(request);
        if present.is_some() && present != owner {
            self.counts.changes_of_owner += 1;
            self.start_over(request);
        }
        let origin = self.origin(request);
        let naming = &mut self.requests[request];
        let signs_in = owner.is_some() && naming.view.owner.is_none();
        match origin {
            Origin::Lost if signs_in && naming.lost_owner == owner => {
                naming.refused = Some(ErrorKind::SignInRefused);
                return;
            }
            Origin::Lost if signs_in => {
                (naming.origin, naming.refused) = (Some(Origin::Fresh), None);
                naming.renewals += 1;
            }
            Origin::Stored { .. } if signs_in && !naming.renewed => self.regenerate(request),
            _ => {}
        }
        self.make(request, vec![Change::Owner(owner)]);
    }

    /// Whether it is somebody's session, or was before it ended.
    pub(crate) fn has_owner(&self, request: usize) -> bool {
        self.owner_of(request).is_some()
    }

    fn owner_of(&self, request: usize) -> Option<&'static str> {
        let asked = &self.requests[request];
        let lost = asked.lost_owner.filter(|_| asked.origin == Some(Origin::Lost));
        asked.view.owner.or(lost)
    }

    fn start_over(&mut self, request: usize) {
        let over = &mut self.requests[request];
        // What is being saved at this moment is saved, and ends with the session.
        let saving = over.save.as_ref().filter(|save| save.endings == over.endings);
        let own = over.pending.split_off(saving.map_or(0, |save| save.changes.len()));
        let shown = std::mem::take(&mut over.shown);
        self.end(request, true);
        let applied = apply_to_nothing(&own);
        let over = &mut self.requests[request];
        (over.shown, over.view, over.pending) = (shown, applied.content, applied.kept);
    }

    pub(crate) fn invalidate(&mut self, request: usize) {
        self.end(request, false);
    }

    fn end(&mut self, request: usize, by_owner: bool) {
        let origin = self.origin(request);
        let ending = &mut self.requests[request];
        let (stored, owner) = match origin {
            Origin::Stored { slot } => (Some(slot), ending.base.owner),
            Origin::Lost => (ending.lost_slot, ending.lost_owner),
            Origin::Unloaded | Origin::Fresh => (None, None),
        };
        ending.forget_everything();
        ending.endings += 1;
        if let Some(ended) = &mut ending.ended {
            ended.by_owner &= by_owner;
        }
        if let Some(slot) = stored {
            let by_owner = by_owner && owner.is_some();
            let ended = Ended { slot, owner, by_owner };
            (ending.ended, ending.has_ended, ending.cookie) = (Some(ended), true, CookieIs::Removed);
        }
        if origin != Origin::Unloaded {
            (ending.origin, ending.refused) = (Some(Origin::Fresh), None);
        }
    }

    pub(crate) fn begin_reload(&mut self, request: usize) {
        let now = self.now;
        let request = &mut self.requests[request];
        (request.asked_at, request.found, request.fault) = (Some(now), None, false);
        request.endings_at_reload = request.endings;
    }

    pub(crate) fn end_reload(&mut self, request: usize, result: Result<(), ErrorKind>) {
        if result.is_ok() && self.requests[request].phase == Phase::Closed {
            self.requests[request].phase = Phase::Detached;
        }
        if self.requests[request].endings != self.requests[request].endings_at_reload {
            return; // The request has ended its session meanwhile, and that stands.
        }
        let Origin::Stored { slot: before } = self.origin(request) else {
            return self.check(result.is_ok(), || "what is not stored was read anew".into());
        };
        let reloaded = &mut self.requests[request];
        let now = reloaded.asked_at.unwrap_or(self.now);
        // Where another request has given the session a new id, there is nothing to be seen under the old one.
        let here = |found: &Found| found.state == State::Live && found.slot == before;
        let found = reloaded.found.take().filter(here);
        match (result, found) {
            (Ok(()), Some(found)) => {
                let fit = apply_all(&self.requests[request].pending, &found.content, false).is_ok();
                self.check(fit, || "a reload took over changes that do not fit".into());
                self.go_on(request, found);
            }
            (Ok(()), None) => {
                let here = self.follow(before, now.max(self.now)) == Some(before);
                self.check(!here, || "a live session read as gone".into());
                // A sign-in is not lost with the session: its save decides what becomes of it.
                if !self.requests[request].pending.iter().any(Change::names_owner) {
                    self.lose(request, None);
                }
            }
            (Err(ErrorKind::Unavailable), _) => {
                let fault = self.requests[request].fault;
                self.check(fault, || "a reload failed without a reason".into());
            }
            (Err(ErrorKind::WrongType), Some(found)) => {
                let fit = apply_all(&self.requests[request].pending, &found.content, false).is_ok();
                self.check(!fit, || "a reload refused changes that fit".into());
            }
            (Err(kind), _) => self.violate(format!("a reload failed: {kind:?}")),
        }
    }

    /// The request goes on from what was found; what it has not saved yet is applied to it.
    fn go_on(&mut self, request: usize, mut found: Found) {
        self.know_token(&mut found.content);
        let going = &mut self.requests[request];
        // What was changed while a save ran, and does not fit what it has stored, is an error of that save.
        let to = Stored {
            joined: false,
            has_token: found.content.token.is_some(),
        };
        let mut applied = apply_each(&going.pending, &found.content, to);
        going.has_misfit |= applied.has_misfit;
        // A save of which nobody knew that it had succeeded has stored what is made again: the same token, not another new one.
        self.know_token(&mut applied.content);
        let going = &mut self.requests[request];
        (going.pending, going.view) = (applied.kept, applied.content);
        going.origin = Some(Origin::Stored { slot: found.slot });
        (going.base, going.base_expiry) = (found.content, Some(found.expires_at));
    }

    /// Somebody has seen what a new token is, perhaps.
    fn know_token(&self, content: &mut Content) {
        if let Some(Token::New(number)) = &content.token
            && let Some(text) = self.rotated.get(number)
        {
            content.token = Some(Token::Is(text.clone()));
        }
    }

    /// The session goes by an id that another request gave it: this one sees on what it has seen, and what it has changed.
    fn stay(&mut self, request: usize, slot: usize, save: &Save) {
        let own = Found {
            slot,
            state: State::Live,
            content: save.view.clone(),
            expires_at: self.slots[slot].expires_at,
        };
        self.go_on(request, own);
        self.withdraw_cookie(request);
    }

    fn lose(&mut self, request: usize, refused: Option<ErrorKind>) {
        self.counts.gone += 1;
        let lost = &mut self.requests[request];
        if let Some(Origin::Stored { slot }) = lost.origin {
            (lost.lost_owner, lost.lost_slot) = (lost.base.owner, Some(slot));
        }
        lost.forget_everything();
        (lost.origin, lost.refused) = (Some(Origin::Lost), refused);
        self.withdraw_cookie(request);
    }

    fn withdraw_cookie(&mut self, request: usize) {
        let withdrawing = &mut self.requests[request];
        withdrawing.cookie = match withdrawing.has_ended {
            true => CookieIs::Removed,
            false => CookieIs::Kept,
        };
    }
}

impl Request {
    fn start_with(&mut self, found: Found, now: SystemTime) {
        let lifetime = Model::lifetime_of(&found.content);
        self.touch = is_worth_moving(found.expires_at, now + lifetime, lifetime);
        self.passing = found
            .content
            .flash
            .iter()
            .map(|(key, message)| (*key, *message))
            .collect();
        self.origin = Some(Origin::Stored { slot: found.slot });
        (self.base, self.view) = (found.content.clone(), found.content);
        self.base_expiry = Some(found.expires_at);
    }

    fn forget_everything(&mut self) {
        (self.base, self.view) = (Content::default(), Content::default());
        self.shown.clear();
        self.pending.clear();
        self.passing.clear();
        (self.renewed, self.touch) = (false, false);
    }
}

/// Whether an expiry is worth moving: by a tenth of the lifetime.
fn is_worth_moving(old: SystemTime, new: SystemTime, lifetime: Duration) -> bool {
    let by = new.duration_since(old).or_else(|_| old.duration_since(new));
    by.unwrap_or_default() >= lifetime / 10
}

// Saving.
impl Model {
    /// The request asks for a save, or its handler has returned.
    pub(crate) fn begin_save(&mut self, request: usize, for_response: bool) {
        let (now, slots) = (self.now, self.slots.len());
        let saving = &mut self.requests[request];
        if saving.origin.is_none() {
            return;
        }
        let aged = saving.age();
        let kind = match saving.origin.unwrap_or(Origin::Unloaded) {
            Origin::Lost if let Some(kind) = saving.refused => Kind::Refuse(kind),
            Origin::Lost if saving.pending.is_empty() => Kind::Nothing,
            Origin::Lost => Kind::Drop,
            Origin::Fresh | Origin::Unloaded if saving.view.is_empty() => Kind::Nothing,
            Origin::Fresh | Origin::Unloaded => Kind::Create,
            Origin::Stored { .. } if saving.renewed => Kind::Renew,
            Origin::Stored { .. } if saving.view != saving.base => Kind::Replace,
            Origin::Stored { .. } if saving.touch => Kind::Touch,
            Origin::Stored { .. } if for_response && matches!(saving.cookie, CookieIs::Set(_)) => Kind::Confirm,
            Origin::Stored { .. } if saving.pending.iter().any(Change::names_owner) => Kind::Confirm,
            Origin::Stored { .. } => Kind::Nothing,
        };
        saving.found = None;
        saving.save = Some(Save {
            kind,
            // Changes that come to nothing are done; what a session without a record has been told waits for something to store.
            changes: match kind {
                Kind::Nothing if saving.origin == Some(Origin::Fresh) => Vec::new(),
                Kind::Refuse(_) => Vec::new(),
                _ => saving.pending.clone(),
            },
            view: saving.view.clone(),
            origin: saving.origin.unwrap_or(Origin::Unloaded),
            endings: saving.endings,
            renewals: saving.renewals,
            phase: saving.phase,
            now,
            ended: saving.ended,
            for_response,
            ended_live: false,
            is_anothers: false,
            owner: saving.base.owner,
            seen: vec![saving.base.clone()],
            slots,
            ended_before: false,
            unborn_is_gone: false,
            effect: None,
            told: false,
            fulfilled: false,
            fault: false,
            may_misfit: false,
            conflicts: 0,
        });
        self.counts.aged += u64::from(aged);
        self.note(|| format!("r{request} saves: {kind:?}"));
    }

    /// The request knows how its save went.
    pub(crate) fn end_save(&mut self, request: usize, result: Result<(), ErrorKind>) {
        let Some(save) = self.requests[request].save.take() else {
            return;
        };
        self.note(|| format!("r{request} has saved: {:?} {result:?}", save.kind));
        self.counts.most_conflicts = self.counts.most_conflicts.max(save.conflicts);
        // The session that was to be ended has another owner, whose browser must not forget it.
        if save.is_anothers && !save.ended_live && self.requests[request].endings == save.endings {
            self.requests[request].has_ended = false;
            if self.requests[request].cookie == CookieIs::Removed {
                self.requests[request].cookie = CookieIs::Kept;
            }
        }
        if let Err(kind) = result {
            let justified = match kind {
                // Who gives a session a new id waits while those of its owner are being ended.
                ErrorKind::Unavailable => save.fault || self.notice_is_left,
                ErrorKind::Conflict => self.notice_is_left,
                // Stored it is, but what was changed meanwhile does not fit what was stored.
                ErrorKind::WrongType if save.effect.is_some() && save.told || self.has_own_session(request, &save) => {
                    self.conclude(request, &save);
                    std::mem::take(&mut self.requests[request].has_misfit)
                }
                ErrorKind::WrongType => save.may_misfit,
                // A task that goes on after the response cannot tell the browser a new id.
                ErrorKind::Committed => {
                    self.check_ended(request, &save);
                    self.requests[request].ended = None;
                    let is_too_late = save.phase != Phase::Open && !save.for_response;
                    is_too_late && matches!(save.kind, Kind::Create | Kind::Renew)
                }
                ErrorKind::Superseded | ErrorKind::SignInRefused => return self.refused(request, &save, kind),
                _ => false,
            };
            let failed = &mut self.requests[request];
            failed.renewed &= failed.origin != Some(Origin::Fresh);
            self.counts.misfits += u64::from(kind == ErrorKind::WrongType);
            return self.check(justified, || format!("a save failed without a reason: {kind:?}"));
        }
        self.check(!save.fault, || "a failure of the store was hidden".into());
        self.check_may_succeed(request, &save);
        self.check_ended(request, &save);
        if save.ended.is_some() {
            self.requests[request].ended = None;
        }
        self.conclude(request, &save);
        let misfit = std::mem::take(&mut self.requests[request].has_misfit);
        self.check(!misfit, || "changes that do not fit were dropped without a word".into());
    }

    /// What was stored might be stored.
    fn check_may_succeed(&mut self, request: usize, save: &Save) {
        let is_new = matches!(save.kind, Kind::Create | Kind::Renew) && save.effect.is_some();
        let is_too_late = save.phase != Phase::Open && !save.for_response;
        self.check(!is_new || !is_too_late, || {
            format!("r{request} has a session of which no browser can be told")
        });
        let came_back = |ended: Ended| ended.by_owner && save.view.owner == ended.owner;
        let came_back = save.ended.is_some_and(came_back) && !save.ended_live;
        self.check(!is_new || !came_back, || {
            format!("r{request} signs in by naming the owner of a session that had ended")
        });
    }

    /// A save was refused: the response is the error, unless the handler signs somebody else in, or ends the session.
    fn refused(&mut self, request: usize, save: &Save, kind: ErrorKind) {
        self.check_ended(request, save);
        if save.ended.is_some() {
            self.requests[request].ended = None;
        }
        match kind {
            ErrorKind::Superseded => self.counts.superseded += 1,
            _ => self.counts.sign_ins_refused += 1,
        }
        let may = self.may_refuse(request, save, kind);
        self.check(may, || {
            format!("{:?} of r{request} was refused without a reason: {kind:?}", save.kind)
        });
        let stored = save.effect.as_ref().filter(|effect| effect.what != What::Touched);
        let is_stored = stored.is_some() && !self.is_overruled(request);
        self.check(!is_stored, || "what was refused was stored".into());
        self.check_unborn(request);
        // Where the request has ended its session while it was saved, that stands.
        if !matches!(save.kind, Kind::Refuse(_)) && self.requests[request].endings == save.endings {
            // A session that others ended is not this request's to make the browser forget.
            self.requests[request].has_ended = false;
            let is_fresh = self.requests[request].origin == Some(Origin::Fresh);
            self.lose(request, Some(kind));
            if let Some(ended) = save.ended.filter(|_| is_fresh) {
                let lost = &mut self.requests[request];
                (lost.lost_owner, lost.lost_slot) = (ended.owner, Some(ended.slot));
            }
        }
    }

    /// The record under the new id has ended before the request knew of it: with all others of its owner, or because the save has taken longer than it lives.
    fn is_overruled(&self, request: usize) -> bool {
        let mut own = self.slots.iter().filter(|slot| slot.maker == request);
        self.requests[request].overruled || own.any(|slot| self.now >= slot.expires_at)
    }

    fn check_unborn(&mut self, request: usize) {
        let is_left = |slot: &Slot| slot.state == State::Unborn(request) && self.now < slot.expires_at;
        let left = self.slots.iter().any(is_left);
        let excused = self.requests[request].orphan_is_excused;
        self.check(!left || excused, || {
            format!("r{request} left a record that nobody knows of")
        });
    }

    fn may_refuse(&self, request: usize, save: &Save, kind: ErrorKind) -> bool {
        if let Kind::Refuse(before) = save.kind {
            return before == kind;
        }
        let names_owner = save.changes.iter().any(Change::names_owner);
        let slot = match save.origin {
            Origin::Stored { slot } => Some(slot),
            _ => None,
        };
        let is_moved = slot.is_some_and(|slot| matches!(self.slots[slot].state, State::Moved { .. }));
        match kind {
            // Across a new id changes are merged for the same owner only.
            ErrorKind::Superseded => is_moved && save.owner.is_none() && save.kind == Kind::Replace,
            // To name the same owner again is no sign-in where the session has ended, or another request was faster to give it an id.
            _ if save.kind == Kind::Create => {
                let ended = save.ended.filter(|_| !save.ended_live);
                ended.is_some_and(|ended| ended.by_owner && save.view.owner == ended.owner)
            }
            // All sessions of the owner ended at this moment.
            _ if names_owner && self.is_overruled(request) => true,
            _ => {
                let gone = slot.is_none_or(|slot| self.may_be_gone(slot, save.now));
                names_owner && save.owner.is_some() && (gone || is_moved && save.kind == Kind::Renew)
            }
        }
    }

    /// Why the save of a request was refused whose response is a 409.
    pub(crate) fn refusal(&self, request: usize) -> ErrorKind {
        let sign_in = ErrorKind::SignInRefused;
        let save = self.requests[request].save.as_ref();
        match save.is_some_and(|save| self.may_refuse(request, save, sign_in)) {
            true => sign_in,
            false => ErrorKind::Superseded,
        }
    }

    /// What was ended has to be dead now, unless it belongs to somebody else by now.
    fn check_ended(&mut self, request: usize, save: &Save) {
        if let Some(ended) = save.ended {
            let successor = self.follow(ended.slot, save.now.max(self.now));
            let gone = successor.is_none_or(|slot| self.slots[slot].record.owner() != ended.owner);
            self.check(gone, || format!("r{request} ended a session that lives on"));
            self.counts.ended += 1;
        }
    }

    fn conclude(&mut self, request: usize, save: &Save) {
        let effect = save.effect.clone().filter(|_| save.told);
        if self.requests[request].endings != save.endings {
            return self.conclude_ended(request, save, effect);
        }
        match (save.kind, effect) {
            (Kind::Nothing, None) => drop(self.requests[request].pending.drain(..save.changes.len())),
            (Kind::Drop, None) => {
                self.counts.dropped += 1;
                let saved = &mut self.requests[request];
                saved.pending.drain(..save.changes.len());
                saved.view = Content::default();
            }
            (Kind::Touch, effect) => self.conclude_touch(request, save, effect),
            (Kind::Confirm, None) => self.conclude_confirm(request, save),
            (Kind::Renew, None) if save.owner.is_none() => self.conclude_own(request, save),
            (Kind::Replace | Kind::Renew, None) => self.must_be_gone(request, save),
            (Kind::Renew, Some(_)) if save.unborn_is_gone => self.must_be_gone(request, save),
            (Kind::Create | Kind::Replace | Kind::Renew, Some(effect)) => self.settle(request, save, effect),
            (kind, effect) => self.violate(format!("{kind:?} came to {effect:?}")),
        }
    }

    /// The request ended its session while it was saved: what has been stored is to end, too.
    fn conclude_ended(&mut self, request: usize, save: &Save, effect: Option<Effect>) {
        let own = match (save.kind, &effect) {
            (Kind::Renew, None) if save.owner.is_none() => self.own_session(request, save),
            _ => None,
        };
        let stored = effect.map(|effect| (effect.found.slot, effect.what));
        let Some((slot, what)) = own.map(|slot| (slot, What::Renewed)).or(stored) else {
            return;
        };
        // Where that was merged into a session under a new id, it is to be found from the old one, as long as its mark lasts.
        let place = match save.origin {
            Origin::Stored { slot } if what != What::Renewed => slot,
            _ => slot,
        };
        let owner = match self.slots[slot].content.owner {
            _ if place != slot => save.owner,
            owner => owner,
        };
        let ending = &mut self.requests[request];
        let by_owner = ending.ended.is_some_and(|ended| ended.by_owner);
        let ended = Ended {
            slot: place,
            owner,
            by_owner,
        };
        (ending.ended, ending.has_ended, ending.cookie) = (Some(ended), true, CookieIs::Removed);
    }

    /// A request without an owner asked for a new id and was not the first, or its session has ended: it has a session of its own.
    fn conclude_own(&mut self, request: usize, save: &Save) {
        if let Some(slot) = self.own_session(request, save) {
            let found = self.found(slot);
            return self.settle(
                request,
                save,
                Effect {
                    found,
                    what: What::Renewed,
                },
            );
        }
        if save.unborn_is_gone && !self.own_changes(save).is_empty() {
            let overruled = self.is_overruled(request);
            self.check(overruled, || format!("the own session of r{request} is gone"));
            self.check_welcome(request, save);
            return self.lose(request, None);
        }
        // It has nothing to put there.
        let ended = !self.lives_on_from(save) || self.is_overruled(request);
        let empty = self.own_changes(save).is_empty();
        self.check(empty && ended, || {
            format!("r{request} asked for a new id and has got no session, though its own lives or has changes")
        });
        let over = &mut self.requests[request];
        over.pending.drain(..save.changes.len());
        let applied = apply_to_nothing(&over.pending);
        (over.view, over.pending, over.base) = (applied.content, applied.kept, Content::default());
        over.has_misfit |= applied.has_misfit;
        (over.origin, over.renewed, over.touch) = (Some(Origin::Fresh), false, false);
        self.withdraw_cookie(request);
    }

    fn lives_on_from(&self, save: &Save) -> bool {
        matches!(save.origin, Origin::Stored { slot } if self.lives_on(slot))
    }

    /// What the changes make of nothing.
    fn own_changes(&self, save: &Save) -> Content {
        apply_to_nothing(&save.changes).content
    }

    fn has_own_session(&self, request: usize, save: &Save) -> bool {
        let mut new = self.slots[save.slots..].iter();
        let has_new = new.any(|slot| slot.state == State::Unborn(request));
        save.kind == Kind::Renew && save.owner.is_none() && has_new && !save.may_misfit
    }

    /// The session of its own that a request has made, with what it had loaded, or, where that has ended, with its own changes only.
    fn own_session(&mut self, request: usize, save: &Save) -> Option<usize> {
        let is_own = |slot: &Slot| {
            let dead = slot.state == State::Dead && !slot.given_up && slot.owned_by(save);
            slot.maker == request && (slot.state == State::Unborn(request) || dead) && !save.unborn_is_gone
        };
        let at = save.slots + self.slots[save.slots..].iter().rposition(is_own)?;
        self.counts.own_sessions += 1;
        let (record, ended) = (self.slots[at].record.clone(), !self.lives_on_from(save));
        let seen = save.seen.iter().filter(|_| !save.ended_before);
        let mut kept = seen.filter_map(|content| apply_all(&save.changes, content, false).ok());
        let whole = kept.find(|kept| same_values(kept, &record));
        self.check(whole.is_some() || ended, || {
            format!("r{request} has a session of its own without what it had loaded, though that lives on")
        });
        self.counts.own_changes_only += u64::from(whole.is_none());
        let mut content = whole.unwrap_or_else(|| self.own_changes(save));
        self.compare(&mut content, &record, request);
        let at_first = Some(record.expires_at());
        self.check_expiry_of(save.now, &content, record.expires_at(), at_first);
        let slot = &mut self.slots[at];
        slot.content = content;
        if slot.state != State::Dead {
            slot.state = State::Live;
        }
        Some(at)
    }

    fn check_welcome(&mut self, request: usize, save: &Save) {
        let names_owner = save.changes.iter().any(Change::names_owner);
        self.check(!names_owner, || {
            format!("r{request} says \"Welcome\" to a visitor who is not signed in")
        });
    }

    fn must_be_gone(&mut self, request: usize, save: &Save) {
        let Origin::Stored { slot } = self.origin(request) else {
            return self.violate("a session that is not stored was saved as if it were");
        };
        self.check_unborn(request);
        // Nobody misses what comes with reading.
        let nothing_lost = self.requests[request].pending.iter().all(Change::comes_with_reading);
        let superseded = nothing_lost && self.may_refuse(request, save, ErrorKind::Superseded);
        let gone = superseded || self.may_be_lost(request, slot, save);
        self.check(gone, || {
            format!("{:?} of r{request} was lost, though the session lives", save.kind)
        });
        // A task has signed somebody in while it was saved: that is still to be saved, and so is the rest.
        let later = self.requests[request].pending.iter().skip(save.changes.len());
        if later.clone().any(Change::names_owner) {
            return;
        }
        self.check_welcome(request, save);
        self.lose(request, None);
    }

    /// Whether what a save was to store may come to nothing.
    fn may_be_lost(&self, request: usize, slot: usize, save: &Save) -> bool {
        self.may_be_gone(slot, save.now) || self.is_overruled(request)
    }

    /// The request learns what it has written.
    fn settle(&mut self, request: usize, save: &Save, effect: Effect) {
        let before = match self.origin(request) {
            Origin::Stored { slot } => Some(slot),
            _ => None,
        };
        let found = effect.found;
        let moved = before.is_some_and(|before| before != found.slot) && effect.what != What::Renewed;
        let saved = &mut self.requests[request];
        saved.pending.drain(..save.changes.len());
        let told = effect.what != What::Renewed && before.is_some() && saved.base_expiry == Some(found.expires_at);
        if !told && !moved {
            saved.cookie = CookieIs::Set(found.slot);
        }
        saved.renewed &= saved.renewals != save.renewals;
        saved.touch = false;
        self.counts.joined += u64::from(moved);
        self.counts.lost_regenerations += u64::from(moved && save.kind == Kind::Renew);
        match before.filter(|_| moved) {
            Some(own) => self.stay(request, own, save),
            None => self.go_on(request, found),
        }
    }

    /// After a touch the session is looked at: it may have been ended, or go by a new id.
    fn conclude_touch(&mut self, request: usize, save: &Save, effect: Option<Effect>) {
        let Origin::Stored { slot } = self.origin(request) else {
            return self.violate("a session that is not stored was touched");
        };
        let found = self.requests[request].found.take();
        match (effect, found.map(|found| (found.state, found))) {
            (Some(effect), Some((State::Live, found))) if found.slot == slot => {
                self.settle(request, save, Effect { found, ..effect });
            }
            (Some(_), Some((State::Moved { until, .. }, _))) if save.now < until => {
                (self.requests[request].touch, self.counts.joined) = (false, self.counts.joined + 1);
                self.requests[request].pending.drain(..save.changes.len());
                self.stay(request, slot, save);
            }
            _ => self.must_be_gone(request, save),
        }
    }

    /// The cookie is sent only if the session is still there.
    fn conclude_confirm(&mut self, request: usize, save: &Save) {
        let Origin::Stored { slot } = self.origin(request) else {
            return self.violate("a session that is not stored was looked for");
        };
        self.counts.confirmed += 1;
        let found = self.requests[request].found.take();
        let found = found.filter(|found| save.now < found.expires_at);
        match found.map(|found| (found.state, found)) {
            Some((State::Live, found)) if found.slot == slot => {
                self.requests[request].pending.drain(..save.changes.len());
                self.go_on(request, found);
            }
            // The owner that was named again is signed in under the new id.
            Some((State::Live, found)) if self.leads_to(slot, found.slot, save.now) => {
                self.check(found.content.owner == save.owner, || {
                    "another owner is signed in".into()
                });
                self.requests[request].pending.drain(..save.changes.len());
                self.stay(request, slot, save);
            }
            Some((State::Moved { until, .. }, _)) if save.now < until => {
                self.requests[request].pending.drain(..save.changes.len());
                self.stay(request, slot, save);
            }
            _ => self.must_be_gone(request, save),
        }
    }

    /// Whether regenerating gives an id: not where another request has given one.
    pub(crate) fn may_renew(&self, request: usize) -> bool {
        let request = &self.requests[request];
        request.origin != Some(Origin::Lost) || request.lost_owner.is_none() && request.refused.is_none()
    }

    /// What the response of the request has to say.
    pub(crate) fn cookie(&self, request: usize) -> CookieIs {
        self.requests[request].cookie
    }

    pub(crate) fn key_of(&self, slot: usize) -> StoreKey {
        self.slots[slot].key
    }

    /// The handler has returned.
    pub(crate) fn close(&mut self, request: usize) {
        self.requests[request].phase = Phase::Closed;
    }

    /// Whether a task that the handler left behind may change nothing.
    pub(crate) fn is_closed(&self, request: usize) -> bool {
        self.requests[request].phase == Phase::Closed
    }

    pub(crate) fn is_detached(&self, request: usize) -> bool {
        self.requests[request].phase == Phase::Detached
    }

    /// From now on only a save that has begun goes on.
    pub(crate) fn hang_up(&mut self, request: usize) {
        self.note(|| format!("r{request} hangs up"));
        self.requests[request].hung_up = true;
    }

    /// A touch says when a session expires, and not with how long a life another request has given it meanwhile.
    fn check_touched(&mut self) {
        let (begun, now) = (self.begun.unwrap_or(self.now), self.now);
        let faults = self.requests.iter().any(|request| request.orphan_is_excused);
        for slot in 0..self.slots.len() {
            let touched = &self.slots[slot];
            if !touched.touched || !self.is_live(slot) || faults {
                continue;
            }
            let (expires_at, lifetime) = (touched.expires_at, Self::lifetime_of(&touched.content));
            let right = begun + lifetime * 9 / 10 <= expires_at && expires_at <= now + lifetime * 11 / 10;
            self.check(right, || {
                format!("s{slot} was touched by who did not know its lifetime, and expires accordingly")
            });
        }
    }

    /// When everybody is done: a save that nobody waited for has run to its end, and nothing is left lying about.
    pub(crate) fn check_end(&mut self) {
        self.check_touched();
        for request in 0..self.requests.len() {
            let Some(save) = self.requests[request].save.take() else {
                continue;
            };
            self.counts.finished_alone += 1;
            if save.kind == Kind::Renew && save.owner.is_none() && save.effect.is_none() && !save.fault {
                self.own_session(request, &save);
                continue;
            }
            if save.fault || save.may_misfit {
                continue;
            }
            self.check_ended(request, &save);
            let alive = match save.origin {
                Origin::Stored { slot } => !self.may_be_lost(request, slot, &save),
                _ => true,
            };
            let refused = [ErrorKind::Superseded, ErrorKind::SignInRefused];
            let alive = alive && !refused.iter().any(|kind| self.may_refuse(request, &save, *kind));
            let has_to = matches!(save.kind, Kind::Create | Kind::Replace | Kind::Renew) && alive;
            self.check(!has_to || save.fulfilled, || {
                format!("the save of r{request}, whose client hung up, did not run to its end")
            });
        }
        for slot in 0..self.slots.len() {
            if let State::Unborn(request) = self.slots[slot].state {
                self.counts.orphans += 1;
                let excused = self.requests[request].orphan_is_excused || self.now >= self.slots[slot].expires_at;
                self.check(excused, || format!("r{request} left a record that nobody knows of"));
            }
        }
    }

    /// Everything that the store has to hold now.
    pub(crate) fn records(&self) -> impl Iterator<Item = (StoreKey, Option<&Record>)> {
        self.slots
            .iter()
            .enumerate()
            .map(|(at, slot)| (slot.key, self.is_present(at).then_some(&slot.record)))
    }
}

impl Request {
    /// What was flash when the session was loaded has been seen; the request itself goes on seeing it.
    fn age(&mut self) -> bool {
        let view = &mut self.view;
        let mut passing = std::mem::take(&mut self.passing);
        passing.retain(|(key, message)| view.flash.get(key) == Some(message));
        if passing.is_empty() {
            return false;
        }
        for (key, _) in &passing {
            let value = view.values[key].clone();
            self.shown.entry(key).or_insert(value);
        }
        for (key, _) in &passing {
            view.values.remove(key);
            view.flash.remove(key);
        }
        self.pending.push(Change::Age(passing));
        true
    }
}

// What the driver reports.
impl Model {
    fn found(&self, at: usize) -> Found {
        let slot = &self.slots[at];
        Found {
            slot: at,
            state: slot.state,
            content: slot.content.clone(),
            expires_at: slot.expires_at,
        }
    }

    /// Notes what a driver's answer shows the request.
    fn see(&mut self, request: usize, slot: Option<usize>) {
        self.requests[request].found = slot.map(|slot| self.found(slot));
        let Some(slot) = slot.filter(|slot| self.slots[*slot].state == State::Live) else {
            return;
        };
        let own = match self.saving_from(request) {
            Origin::Stored { slot } => slot,
            _ => slot,
        };
        let joined = own != slot;
        let ended = self.requests[request].save.as_ref();
        let ended = ended.and_then(|save| save.ended.map(|ended| (ended, save.now)));
        let is_anothers = ended.is_some_and(|(ended, now)| {
            self.slots[slot].content.owner != ended.owner && self.leads_to(ended.slot, slot, now)
        });
        let content = &self.slots[slot].content;
        let seeing = &mut self.requests[request];
        if let Some(save) = &mut seeing.save {
            save.is_anothers |= is_anothers;
            if !joined {
                save.seen.push(content.clone());
            }
            // Nothing of a guest's is merged into what is under another id: there it is only looked whether that is still there.
            let writes = matches!(save.kind, Kind::Replace | Kind::Renew) && (!joined || save.owner.is_some());
            save.may_misfit |= writes && apply_all(&save.changes, content, joined).is_err();
        }
    }

    fn check_present(&mut self, slot: Option<usize>, present: bool) {
        let wanted = slot.is_some_and(|slot| self.is_present(slot));
        self.check(wanted == present, || match present {
            true => "the store found what is not there".into(),
            false => "the store did not find what is there".into(),
        });
    }

    fn check_record(&mut self, slot: Option<usize>, record: &Record) {
        if let Some(slot) = slot {
            let same = self.slots[slot].record.payload() == record.payload();
            self.check(same, || "the store read what was not written".into());
        }
    }

    /// Something that changes the store: only while its request saves.
    fn check_may_write(&mut self, request: usize) -> bool {
        let saving = self.requests[request].save.is_some() || self.requests[request].ending.is_some();
        self.check(saving, || format!("r{request} changed the store without a save"));
        saving
    }

    pub(crate) fn failed(&mut self, request: usize, key: Option<&StoreKey>) {
        self.note(|| format!("r{request}: the store fails"));
        self.notice_is_left |= key.is_some_and(|key| self.notices.contains(key));
        (self.requests[request].orphan_is_excused, self.requests[request].fault) = (true, true);
        let slot = key.and_then(|key| self.slot_of(key));
        if let Some(save) = &mut self.requests[request].save {
            save.fault = true;
            // It has not been told what it has found there.
            save.is_anothers &= slot.is_none_or(|slot| self.slots[slot].content.owner == save.owner_of_ended());
        }
    }

    /// The request has the answer.
    pub(crate) fn told(&mut self, request: usize) {
        if let Some(save) = &mut self.requests[request].save {
            save.told = save.effect.is_some();
        }
    }

    pub(crate) fn read(&mut self, request: usize, key: &StoreKey, record: Option<&Record>) {
        if self.notices.contains(key) {
            return;
        }
        let slot = self.slot_of(key);
        self.note(|| format!("r{request} reads s{slot:?} {}", text(record)));
        self.check_present(slot, record.is_some());
        if let Some(record) = record {
            self.check_record(slot, record);
        }
        if record.is_none() {
            self.see_gone(request, slot);
        }
        self.see(request, slot.filter(|_| record.is_some()));
    }

    /// The request knows that its new record has ended.
    fn see_gone(&mut self, request: usize, slot: Option<usize>) {
        let mine = slot.is_some_and(|slot| self.slots[slot].maker == request);
        if let Some(save) = self.requests[request].save.as_mut().filter(|_| mine) {
            save.unborn_is_gone |= save.kind == Kind::Renew && slot >= Some(save.slots);
        }
    }

    pub(crate) fn wrote(
        &mut self,
        request: usize,
        key: &StoreKey,
        record: &Record,
        expected: Expected,
        written: &Written,
    ) {
        if self.notices.contains(key) {
            return self.note(|| format!("r{request} writes a notice: {}", outcome(written)));
        }
        let slot = self.slot_of(key);
        self.note(|| {
            format!(
                "r{request} writes s{slot:?} {} {}",
                text(Some(record)),
                outcome(written)
            )
        });
        if !self.check_may_write(request) {
            return;
        }
        match written {
            Written::Gone => {
                self.check_present(slot, false);
                self.see_gone(request, slot);
            }
            Written::Conflict(found) => {
                self.counts.conflicts += 1;
                if let Some(save) = &mut self.requests[request].save {
                    save.conflicts += 1;
                }
                self.check_present(slot, true);
                if let Some(found) = found {
                    self.check_record(slot, found);
                    self.see(request, slot);
                }
            }
            Written::Done(_) => match (slot, expected) {
                (None, Expected::Absent) => {
                    let slot = self.make_slot(request, key, record);
                    self.created(request, slot, record);
                }
                (Some(slot), Expected::Version(_)) => {
                    self.check_present(Some(slot), true);
                    self.replaced(request, slot, record);
                }
                (slot, expected) => self.violate(format!("s{slot:?} was written as {expected:?}")),
            },
        }
    }

    fn make_slot(&mut self, request: usize, key: &StoreKey, record: &Record) -> usize {
        let slot = self.slots.len();
        self.by_key.insert(*key, slot);
        self.slots.push(Slot {
            key: *key,
            state: State::Dead,
            content: Content::default(),
            record: record.clone(),
            expires_at: record.expires_at(),
            maker: request,
            touched: false,
            given_up: false,
        });
        slot
    }

    fn created(&mut self, request: usize, slot: usize, record: &Record) {
        self.counts.writes += 1;
        match self.requests[request].save.as_ref().map(|save| save.kind) {
            Some(Kind::Renew) => {
                if let Origin::Stored { slot: own } = self.saving_from(request) {
                    let ended = !self.lives_on(own);
                    if let Some(save) = &mut self.requests[request].save {
                        save.ended_before = ended;
                    }
                }
                let slot = &mut self.slots[slot];
                slot.state = State::Unborn(request);
                (slot.record, slot.expires_at) = (record.clone(), record.expires_at());
            }
            Some(Kind::Create) => {
                self.slots[slot].state = State::Live;
                if let Some(content) = self.changed(request, &Content::default(), false) {
                    self.check(!content.is_empty(), || "a session was stored that holds nothing".into());
                    self.store(request, slot, content, record, None);
                }
            }
            kind => self.violate(format!("r{request} made a record with {kind:?}")),
        }
    }

    /// What the changes that are being saved make of a content.
    fn changed(&mut self, request: usize, content: &Content, joined: bool) -> Option<Content> {
        let writing = &self.requests[request];
        let changes = writing.save.as_ref().map_or(&[][..], |save| &save.changes);
        let changed = apply_all(changes, content, joined);
        self.check(changed.is_ok(), || "changes were stored that do not fit".into());
        changed.ok()
    }

    /// A live session holds this now.
    fn store(&mut self, request: usize, slot: usize, mut content: Content, record: &Record, old: Option<SystemTime>) {
        self.compare(&mut content, record, request);
        self.check_expiry(request, &content, record.expires_at(), old);
        for ending in self.requests.iter_mut().filter_map(|request| request.ending.as_mut()) {
            ending
                .bound
                .retain(|bound| *bound != slot || record.owner() == Some(ending.owner));
        }
        let place = &mut self.slots[slot];
        place.content = content.clone();
        (place.record, place.expires_at) = (record.clone(), record.expires_at());
        self.take_effect(request, slot, What::Stored);
    }

    fn check_expiry(&mut self, request: usize, content: &Content, expires_at: SystemTime, old: Option<SystemTime>) {
        if let Some(now) = self.requests[request].save.as_ref().map(|save| save.now) {
            self.check_expiry_of(now, content, expires_at, old);
        }
    }

    fn check_expiry_of(&mut self, now: SystemTime, content: &Content, expires_at: SystemTime, old: Option<SystemTime>) {
        let lifetime = Self::lifetime_of(content);
        let new = now + lifetime;
        let kept = old.is_some() && !is_worth_moving(expires_at, new, lifetime);
        self.check(kept || expires_at == new, || {
            "a session expires at another time than it should".into()
        });
    }

    fn take_effect(&mut self, request: usize, slot: usize, what: What) {
        let effect = Effect {
            found: self.found(slot),
            what,
        };
        if let Some(save) = &mut self.requests[request].save {
            (save.effect, save.told, save.fulfilled) = (Some(effect), false, true);
        }
    }

    fn replaced(&mut self, request: usize, slot: usize, record: &Record) {
        let Some((kind, now)) = self.requests[request].save.as_ref().map(|save| (save.kind, save.now)) else {
            return;
        };
        if record.is_expired(SystemTime::UNIX_EPOCH) {
            return self.emptied(request, slot, now);
        }
        if let Some((to, until)) = mark(record) {
            return self.moved(request, slot, record, to, until);
        }
        self.counts.writes += 1;
        match self.slots[slot].state {
            State::Unborn(by) if by == request && kind == Kind::Renew => {
                (self.slots[slot].record, self.slots[slot].expires_at) = (record.clone(), record.expires_at());
            }
            State::Live => {
                let Origin::Stored { slot: own } = self.saving_from(request) else {
                    return self.violate(format!("r{request} wrote into a session that it has not loaded"));
                };
                let loaded = self.requests[request].save.as_ref().and_then(|save| save.owner);
                let owner = self.slots[slot].content.owner;
                // No save writes under an id that its request was not given, but for the same owner.
                let reached = own == slot || loaded.is_some() && self.leads_to(own, slot, now);
                self.check(reached && loaded == owner, || {
                    format!("r{request} wrote into a session that is not its own")
                });
                // An id that this request has made, and that nobody has been told yet, is as good as another new one.
                let untold = owner.is_none() && self.slots[slot].maker == request;
                self.check(record.owner() == owner || untold, || {
                    format!("r{request} gave a session to somebody else under its old id")
                });
                let joined = own != slot;
                self.check(kind == Kind::Replace || joined, || {
                    format!("r{request} regenerates and wrote under the old id")
                });
                let before = self.slots[slot].content.clone();
                let old = self.slots[slot].expires_at;
                if let Some(content) = self.changed(request, &before, joined) {
                    self.store(request, slot, content, record, Some(old));
                }
            }
            state => self.violate(format!("r{request} wrote into what is {state:?}")),
        }
    }

    /// Whether who saves at `now` may follow from one place to the other.
    fn leads_to(&self, mut from: usize, to: usize, now: SystemTime) -> bool {
        while let State::Moved { to: next, until } = self.slots[from].state
            && now < until
        {
            from = next;
        }
        from == to
    }

    /// A session goes by a new id.
    fn moved(&mut self, request: usize, slot: usize, record: &Record, to: StoreKey, until: SystemTime) {
        self.counts.renewed += 1;
        let Some(save) = &self.requests[request].save else {
            return;
        };
        let (kind, now) = (save.kind, save.now);
        let own = self.saving_from(request) == (Origin::Stored { slot });
        self.check(kind == Kind::Renew && own, || {
            format!("r{request} gave an id to a session that another has given one already")
        });
        let live = self.slots[slot].state == State::Live;
        self.check(live, || "what is no session was given a new id".into());
        self.check(until == now + GRACE && record.expires_at() == until, || {
            "requests that came under the old id may follow for another time than they should".into()
        });
        self.check(record.owner().is_none(), || {
            "the mark of an old id belongs to the owner".into()
        });
        let Some(to) = self.slot_of(&to) else {
            return self.violate("a mark leads nowhere");
        };
        let before = self.slots[slot].content.clone();
        let old = self.slots[slot].expires_at;
        self.slots[slot].state = State::Moved { to, until };
        (self.slots[slot].record, self.slots[slot].expires_at) = (record.clone(), until);
        for ending in self.requests.iter_mut().filter_map(|request| request.ending.as_mut()) {
            ending
                .bound
                .iter_mut()
                .filter(|bound| **bound == slot)
                .for_each(|bound| *bound = to);
        }
        match self.slots[to].state {
            State::Unborn(by) if by == request => self.slots[to].state = State::Live,
            // All sessions of the owner were ended at this moment.
            State::Dead => {}
            state => return self.violate(format!("a mark leads to what is {state:?}")),
        }
        if let Some(content) = self.changed(request, &before, false) {
            let record = self.slots[to].record.clone();
            self.store(request, to, content, &record, Some(old));
            self.take_effect(request, to, What::Renewed);
        }
    }

    /// A session was emptied, which is how it ends.
    fn emptied(&mut self, request: usize, slot: usize, now: SystemTime) {
        let Some(save) = &mut self.requests[request].save else {
            return;
        };
        save.ended_live = true;
        let ended = save.ended;
        // Only that of the owner that was loaded.
        let owner = self.slots[slot].content.owner;
        let own = ended.is_some_and(|ended| self.leads_to(ended.slot, slot, now) && ended.owner == owner);
        self.check(own, || format!("r{request} ended a session that it was not to end"));
        let live = self.slots[slot].state == State::Live;
        self.check(live, || format!("r{request} ended what is no session"));
        let maker = self.slots[slot].maker;
        self.requests[maker].overruled |= maker != request && self.requests[maker].save.is_some();
        self.slots[slot].state = State::Dead;
    }

    pub(crate) fn touched(&mut self, request: usize, key: &StoreKey, expires_at: SystemTime, present: bool) {
        if self.notices.contains(key) {
            return;
        }
        let slot = self.slot_of(key);
        self.note(|| format!("r{request} touches s{slot:?} {present}"));
        if !self.check_may_write(request) {
            return;
        }
        self.check_present(slot, present);
        let Some(slot) = slot.filter(|_| present) else {
            self.requests[request].found = None;
            return;
        };
        self.counts.touched += 1;
        let touches = self.requests[request]
            .save
            .as_ref()
            .is_some_and(|save| save.kind == Kind::Touch);
        self.check(touches, || format!("r{request} touched a session that was not due"));
        (self.slots[slot].expires_at, self.slots[slot].touched) = (expires_at, true);
        if let Some(found) = &mut self.requests[request].found {
            found.expires_at = expires_at;
        }
        let content = self.requests[request].base.clone();
        if let Some(save) = &mut self.requests[request].save {
            let (state, what) = (State::Live, What::Touched);
            let found = Found {
                slot,
                state,
                content,
                expires_at,
            };
            let effect = Effect { found, what };
            (save.effect, save.told, save.fulfilled) = (Some(effect), false, true);
        }
    }

    pub(crate) fn destroyed(&mut self, request: usize, key: &StoreKey) {
        let slot = self.slot_of(key);
        self.note(|| format!("r{request} destroys s{slot:?}"));
        if !self.check_may_write(request) {
            return;
        }
        let Some(slot) = slot else { return };
        match self.slots[slot].state {
            State::Unborn(by) if by == request => {
                (self.slots[slot].state, self.slots[slot].given_up) = (State::Dead, true);
            }
            // Nobody knows of a new session whose answer was lost.
            State::Live if self.is_unheard_of(request, slot) => {
                self.slots[slot].state = State::Dead;
                if let Some(save) = &mut self.requests[request].save {
                    save.effect = None;
                }
            }
            State::Dead => {}
            // An expired mark, or session.
            _ if !self.is_present(slot) => {}
            state => self.violate(format!("r{request} destroyed what is {state:?}, without a look")),
        }
    }

    fn is_unheard_of(&self, request: usize, slot: usize) -> bool {
        let save = self.requests[request].save.as_ref();
        let failed = save.is_some_and(|save| save.kind == Kind::Create && save.fault && !save.told);
        failed && self.slots[slot].maker == request
    }

    /// Who ends the sessions of an owner says so first.
    pub(crate) fn will_write(&mut self, key: &StoreKey, record: &Record) {
        if record.payload().starts_with(br#"{"_lease":"#) && !self.notices.contains(key) {
            self.notices.push(*key);
        }
    }

    /// Where there are, or have been, sessions.
    pub(crate) fn keys(&self) -> Vec<StoreKey> {
        self.slots.iter().map(|slot| slot.key).collect()
    }

    pub(crate) fn begin_ending(&mut self, request: usize, owner: &'static str, spared: Option<StoreKey>) {
        let spared = spared.and_then(|key| self.slot_of(&key));
        let spared = spared.filter(|slot| self.is_live(*slot));
        let is_bound = |slot: &usize| {
            let found = &self.slots[*slot];
            self.is_live(*slot) && found.record.owner() == Some(owner) && spared != Some(*slot)
        };
        self.requests[request].ending = Some(Ending {
            owner,
            begun: self.now,
            spared,
            bound: (0..self.slots.len()).filter(is_bound).collect(),
            ended: 0,
        });
        self.note(|| format!("r{request} ends all sessions of {owner}, sparing {spared:?}"));
    }

    /// One of the sessions of an owner that are to end has ended.
    pub(crate) fn ended_one(&mut self, request: usize, key: &StoreKey) {
        let slot = self.slot_of(key);
        self.note(|| format!("r{request} ends s{slot:?}"));
        let (Some(slot), Some(ending)) = (slot, self.requests[request].ending.as_mut()) else {
            return self.violate("what has never been was ended");
        };
        ending.ended += 1;
        let spared = ending.spared == Some(slot);
        let state = self.slots[slot].state;
        self.check(!spared, || "the session that was to be spared was ended".into());
        match state {
            State::Unborn(maker) => self.requests[maker].overruled = true,
            State::Live => {
                // Its maker has not been told yet that it is there.
                let maker = self.slots[slot].maker;
                self.requests[maker].overruled |= self.requests[maker].save.is_some();
            }
            state => self.violate(format!("what is {state:?} was ended")),
        }
        self.slots[slot].state = State::Dead;
    }

    pub(crate) fn end_ending(&mut self, request: usize, result: Result<u64, ErrorKind>) {
        let Some(ending) = self.requests[request].ending.take() else {
            return;
        };
        self.note(|| format!("r{request} has ended the sessions of {}: {result:?}", ending.owner));
        match result {
            Ok(count) => {
                let left: Vec<_> = ending.bound.iter().filter(|slot| self.is_live(**slot)).collect();
                self.check(left.is_empty(), || {
                    format!("s{left:?} outlives the end of all sessions of {}", ending.owner)
                });
                let ended = ending.ended;
                self.check(ended == count, || format!("{count} sessions were ended, not {ended}"));
                self.counts.ended_of_owner += ended;
            }
            Err(kind) => {
                let fault = self.requests[request].fault && kind == ErrorKind::Unavailable;
                // A search is repeated when its notice has run out, which takes ten seconds, and given up the eighth time.
                let halted = self.now >= ending.begun + 8 * Duration::from_secs(10);
                let busy = (self.notice_is_left || halted) && kind == ErrorKind::Busy;
                self.check(fault || busy, || {
                    format!("the sessions of an owner could not be ended: {kind:?}")
                });
            }
        }
    }
}

impl Save {
    fn owner_of_ended(&self) -> Option<&'static str> {
        self.ended.and_then(|ended| ended.owner)
    }
}

impl Slot {
    /// It was written by this save, for a session of its own, and ended at once with all others of its owner.
    fn owned_by(&self, save: &Save) -> bool {
        save.kind == Kind::Renew && save.owner.is_none() && self.record.owner() == save.view.owner
    }
}

/// Whether a record holds what it is to hold, but for the text of its token.
fn same_values(content: &Content, record: &Record) -> bool {
    let found: Map<String, Value> = serde_json::from_slice(record.payload()).unwrap_or_default();
    let values = found.iter().filter(|(key, _)| !key.starts_with('_'));
    let wanted = content.values.iter().map(|(key, value)| (*key, value));
    let lifetime = content.lifetime.map(|seconds| Value::from(seconds * 1000));
    let flash = found.get("_flash.old").and_then(Value::as_array).map_or(0, Vec::len);
    values.map(|(key, value)| (key.as_str(), value)).eq(wanted)
        && found.contains_key("_token") == content.token.is_some()
        && found.get("_lifetime") == lifetime.as_ref()
        && flash == content.flash.len()
}

/// Where a mark leads, and how long it may be followed. It holds nothing else.
fn mark(record: &Record) -> Option<(StoreKey, SystemTime)> {
    let found: Map<String, Value> = serde_json::from_slice(record.payload()).ok()?;
    let to = found.get("_moved")?.as_str()?.parse().ok()?;
    let until = Duration::from_millis(found.get("_until")?.as_u64()?);
    // A number by which its writer knows it again.
    let own = found.keys().all(|key| ["_moved", "_until", "_by"].contains(&&**key));
    own.then_some((to, SystemTime::UNIX_EPOCH + until))
}

fn text(record: Option<&Record>) -> String {
    record.map_or("nothing".into(), |record| {
        String::from_utf8_lossy(record.payload()).into_owned()
    })
}

fn outcome(written: &Written) -> &'static str {
    match written {
        Written::Done(_) => "done",
        Written::Conflict(_) => "conflict",
        Written::Gone => "gone",
    }
}
