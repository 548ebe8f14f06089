//! What a request knows of its session: where it came from, what was changed, what the store is still to be told.
//!
//! Waiting (not loaded: changes are kept) -> started. A started session is *fresh* (no record), *stored*, or *lost*
//! (its record is gone, or was found under an id that this request was not given: changes are dropped). If another
//! request gives the session a new id while this one runs, it stays *stored* as this request has seen it: what is under
//! the new id is not read. A session whose store could not be read may be lost and *read-only*, if the layer says so.
//! It can be loaded anew.
//!
//! The owner of a session decides which changes are carried over to a new id, so a change of owner is more than a
//! change of data ([`owner`]).

mod afterwards;
mod changing;
mod loading;
mod owner;
mod reading;
mod replaying;
mod saving;

use std::time::{Instant, SystemTime};

use crate::backend::Stored;
use crate::changes::Changes;
use crate::draft::Draft;
use crate::error::ErrorKind;
use crate::flash::Passing;
use crate::id::SessionId;
use crate::payload::Text;
use crate::save::Ended;
use crate::table::Table;

use afterwards::Event;
pub(crate) use loading::Loaded;
pub(crate) use replaying::{Base, Replayed};
pub(crate) use saving::Browser;

/// Where the session of a request came from.
enum Origin {
    Waiting,
    Fresh,
    Stored(Stored),
    Lost(Lost),
}

/// A session that is gone for this request.
#[derive(Default)]
struct Lost {
    /// The session as this request has seen it. If it has another id now, a handler that ends it ends it under that id.
    seen: Option<Stored>,
    /// Changes were refused, not just dropped, and the response will say so.
    refused: Option<ErrorKind>,
}

/// What the response is to say to the browser.
#[derive(Clone, Copy, Default)]
enum CookieChange {
    #[default]
    Keep,
    /// Tell it the id of the stored session: the present and the moment it expires, or none, for until the browser is closed.
    Set(Option<(SystemTime, SystemTime)>),
    Remove,
}

/// What is left to do about the expiry of a session that is used.
#[derive(Clone, Copy)]
enum Touch {
    None,
    Due,
    /// It was moved when the session was read; the browser is still to be told.
    Done(Instant),
}

pub(crate) struct State {
    origin: Origin,
    /// The id that a new session will have, or that the stored one has or is to have.
    id: Option<SessionId>,
    draft: Draft,
    changes: Changes,
    /// How often the application has added to `changes`, or emptied it.
    revision: u64,
    /// Values for this request only, in front of everything else.
    shown: Table<Text>,
    /// Flash that ages when this request saves.
    passing: Passing,
    /// The stored session is to get `id`.
    regenerated: bool,
    /// The session that the handler ended; before loading, that it is to be ended.
    ended: Option<Box<Ended>>,
    end_what_is_found: bool,
    /// How often the handler ended a session.
    invalidations: u32,
    /// The handler has ended a session that was stored.
    has_ended: bool,
    /// It had an owner at some time in this request, so its response may show what is theirs.
    had_owner: bool,
    /// No record was found: the session began with this request.
    new: bool,
    /// The store could not be read: what is stored is not known, and must not be changed.
    read_only: bool,
    /// Whether its expiry is worth moving.
    touch: Touch,
    /// The response may never be seen: what is read by it has not been read.
    speculative: bool,
    cookie: CookieChange,
    /// What is left to do once the session's lock is free.
    events: Vec<Event>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            origin: Origin::Waiting,
            id: None,
            draft: Draft::empty(),
            changes: Changes::default(),
            revision: 0,
            shown: Table::new(),
            passing: Passing::new(),
            regenerated: false,
            ended: None,
            end_what_is_found: false,
            invalidations: 0,
            has_ended: false,
            had_owner: false,
            new: true,
            read_only: false,
            touch: Touch::None,
            speculative: false,
            cookie: CookieChange::Keep,
            events: Vec::new(),
        }
    }
}
