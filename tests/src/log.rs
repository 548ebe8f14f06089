use std::cell::RefCell;
use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Everything that is traced on this thread, at every level, while it lives.
#[derive(Debug)]
pub struct Log {
    lines: Lines,
    before: Option<Lines>,
}

type Lines = Arc<Mutex<Vec<Entry>>>;

thread_local! {
    /// Who listens to this thread.
    static LISTENING: RefCell<Option<Lines>> = const { RefCell::new(None) };
}

/// An event, or a span.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its level.
    pub level: Level,
    /// Its target.
    pub target: String,
    /// What it says.
    pub message: String,
    /// Its other fields. Of an error, with all its sources.
    pub fields: Vec<(String, String)>,
    /// Whether it is a span.
    pub is_span: bool,
}

impl Log {
    /// Begins to listen.
    pub fn capture() -> Self {
        // One subscriber for all threads and for good: where they come and go, `tracing` may hold an event for one that nobody
        // listens to, which another thread has found so a moment before.
        static SUBSCRIBED: Once = Once::new();
        SUBSCRIBED.call_once(|| {
            tracing::subscriber::set_global_default(Listener::default()).expect("no other subscriber is installed");
        });
        let lines = Lines::default();
        let before = LISTENING.replace(Some(lines.clone()));
        Self { lines, before }
    }

    /// What has been said so far.
    pub fn entries(&self) -> Vec<Entry> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What has been said by this library, at this level.
    pub fn at(&self, level: Level) -> Vec<Entry> {
        let mut entries = self.entries();
        entries.retain(|entry| entry.level == level && entry.target == "session_schema");
        entries
    }

    /// All of it, as text, to look for what must not be there.
    pub fn text(&self) -> String {
        format!("{:#?}", self.entries())
    }
}

impl Entry {
    /// The field of that name.
    pub fn field(&self, name: &str) -> Option<&str> {
        let field = self.fields.iter().find(|(field, _)| field == name)?;
        Some(&field.1)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        LISTENING.set(self.before.take());
    }
}

#[derive(Default)]
struct Listener {
    spans: AtomicU64,
}

impl Listener {
    fn note(&self, metadata: &Metadata<'_>, is_span: bool, record: impl FnOnce(&mut Fields)) {
        let Some(lines) = LISTENING.with_borrow(Option::clone) else {
            return;
        };
        let mut fields = Fields::default();
        record(&mut fields);
        let entry = Entry {
            level: *metadata.level(),
            target: metadata.target().to_owned(),
            message: fields.message,
            fields: fields.others,
            is_span,
        };
        lines.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
    }
}

impl Subscriber for Listener {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.note(span.metadata(), true, |fields| span.record(fields));
        Id::from_u64(self.spans.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        self.note(event.metadata(), false, |fields| event.record(fields));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(String, String)>,
}

impl Visit for Fields {
    fn record_error(&mut self, field: &Field, error: &(dyn Error + 'static)) {
        let (mut texts, mut next) = (Vec::new(), Some(error));
        while let Some(error) = next {
            texts.push(format!("{error} {error:?}"));
            next = error.source();
        }
        self.others.push((field.name().to_owned(), texts.join(": ")));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            name => self.others.push((name.to_owned(), format!("{value:?}"))),
        }
    }
}
