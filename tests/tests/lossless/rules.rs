//! What each operation does to what a session holds, in the plainest words of `DESIGN.md`, sections 3 and 6.
//!
//! Written from the rules and not from the library: values are trees, messages have numbers, nothing is merged or left out.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// An application key.
pub(crate) type Key = &'static str;

/// Tells one flash message from another under the same key.
pub(crate) type Message = u32;

/// What a session holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Content {
    pub(crate) values: BTreeMap<Key, Value>,
    /// Which of the values are flash, and which message each is.
    pub(crate) flash: BTreeMap<Key, Message>,
    pub(crate) token: Option<Token>,
    pub(crate) owner: Option<&'static str>,
    /// The lifetime that it has for itself alone, in seconds.
    pub(crate) lifetime: Option<u64>,
}

/// A CSRF token.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    Is(String),
    /// What a regeneration or a flush made it, which nobody has seen yet.
    New(u32),
}

/// What `update` is called with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Function {
    /// Doubles and adds one, in numbers: it does not commute with an addition.
    Double,
    /// Lowers what is above two.
    Cap,
    /// Appends the length of the list.
    Count,
}

impl Function {
    pub(crate) fn number(self, number: &mut i64) {
        match self {
            Self::Double => *number = (*number * 2 + 1) % 1000,
            _ => *number = (*number).min(2),
        }
    }

    /// What it makes of a value; `None` where it leaves absent what is.
    fn of(self, value: Option<&Value>) -> Result<Option<Value>, Misfit> {
        let absent = value.is_none_or(Value::is_null);
        let value = value.filter(|_| !absent);
        match self {
            Self::Count => {
                let mut list = match value {
                    Some(value) => numbers(value)?,
                    None => Vec::new(),
                };
                list.push(list.len() as i64);
                Ok(Some(json!(list)))
            }
            _ => {
                let before = match value {
                    Some(value) => value.as_i64().ok_or(Misfit)?,
                    None => 0,
                };
                let mut number = before;
                self.number(&mut number);
                Ok((!absent || number != before).then(|| json!(number)))
            }
        }
    }
}

fn numbers(value: &Value) -> Result<Vec<i64>, Misfit> {
    serde_json::from_value(value.clone()).map_err(|_| Misfit)
}

/// The value does not take the change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Misfit;

/// What one call has changed.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Put(Key, Value),
    Forget(Key),
    Increment(Key, i64),
    Push(Key, Value),
    Update(Key, Function),
    Flash(Key, Value, Message),
    /// The message that was seen lives on as another one.
    Keep(Key, Value, Message, Message),
    /// These messages have been seen.
    Age(Vec<(Key, Message)>),
    /// Removes everything; a token that was stored is replaced.
    Flush(u32),
    /// Removes the application's keys: the first half of `replace`.
    Clear,
    FirstToken(String),
    NewToken(String),
    Rotate(u32),
    Owner(Option<&'static str>),
    Lifetime(u64),
}

impl Change {
    /// Whether it says what is under the key of an earlier change, whatever that was.
    fn replaces(&self, earlier: &Self) -> bool {
        let (Self::Increment(key, _) | Self::Push(key, _) | Self::Update(key, _)) = earlier else {
            return false;
        };
        match self {
            Self::Put(other, _) | Self::Forget(other) | Self::Flash(other, ..) => key == other,
            Self::Flush(_) | Self::Clear => true,
            _ => false,
        }
    }

    /// Whether it concerns the CSRF token alone.
    pub(crate) fn is_of_token(&self) -> bool {
        matches!(self, Self::FirstToken(_) | Self::NewToken(_) | Self::Rotate(_))
    }

    /// Whether it comes with reading: nobody misses it where it cannot be saved.
    pub(crate) fn comes_with_reading(&self) -> bool {
        matches!(self, Self::FirstToken(_) | Self::Age(_))
    }

    /// Whether it says that somebody is signed in.
    pub(crate) fn names_owner(&self) -> bool {
        matches!(self, Self::Owner(Some(_)))
    }

    /// Makes the change.
    fn apply(&self, content: &mut Content, to: Stored) -> Result<(), Misfit> {
        match self {
            Self::Put(key, value) => content.put(key, value.clone()),
            Self::Forget(key) => content.forget(key),
            Self::Increment(key, by) => {
                let sum = match content.values.get(key) {
                    None | Some(Value::Null) => *by,
                    Some(value) => value.as_i64().ok_or(Misfit)? + by,
                };
                content.put(key, json!(sum));
            }
            Self::Push(key, item) => {
                let mut list = match content.values.get(key) {
                    None | Some(Value::Null) => Vec::new(),
                    Some(Value::Array(list)) => list.clone(),
                    Some(_) => return Err(Misfit),
                };
                list.push(item.clone());
                content.put(key, Value::Array(list));
            }
            Self::Update(key, function) => {
                if let Some(value) = function.of(content.values.get(key))? {
                    content.put(key, value);
                }
            }
            Self::Flash(key, value, message) => {
                content.values.insert(key, value.clone());
                content.flash.insert(key, *message);
            }
            Self::Keep(key, value, seen, new) => match (content.flash.get(key), content.values.get(key)) {
                (Some(message), _) if message == seen => drop(content.flash.insert(key, *new)),
                (None, None) => {
                    content.values.insert(key, value.clone());
                    content.flash.insert(key, *new);
                }
                _ => {}
            },
            Self::Age(seen) => {
                for (key, message) in seen {
                    if content.flash.get(key) == Some(message) {
                        content.forget(key);
                    }
                }
            }
            Self::Flush(number) => {
                let (lifetime, token) = (content.lifetime, content.token.take());
                *content = Content::default();
                content.lifetime = lifetime;
                content.token = match to.joined {
                    true => token,
                    false => to.has_token.then_some(Token::New(*number)),
                };
            }
            Self::Clear => {
                content.values.clear();
                content.flash.clear();
            }
            Self::FirstToken(token) => {
                if content.token.is_none() && !to.joined {
                    content.token = Some(Token::Is(token.clone()));
                }
            }
            Self::NewToken(token) => {
                if !to.joined {
                    content.token = Some(Token::Is(token.clone()));
                }
            }
            Self::Rotate(number) => {
                if content.token.is_some() && !to.joined {
                    content.token = Some(Token::New(*number));
                }
            }
            Self::Owner(owner) => content.owner = *owner,
            Self::Lifetime(seconds) => content.lifetime = Some(*seconds),
        }
        Ok(())
    }
}

/// What changes are applied to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stored {
    /// Another request has given the session a new id. Its token is the one that came with that id, and none that
    /// is known under the old one.
    pub(crate) joined: bool,
    pub(crate) has_token: bool,
}

/// What changes make of a content, one after the other.
#[derive(Debug)]
pub(crate) struct Applied {
    pub(crate) content: Content,
    /// The changes that fit.
    pub(crate) kept: Vec<Change>,
    /// Some did not, and no later one makes them superfluous.
    pub(crate) has_misfit: bool,
}

/// All of the changes that fit.
pub(crate) fn apply_each(changes: &[Change], content: &Content, to: Stored) -> Applied {
    let mut applied = Applied {
        content: content.clone(),
        kept: Vec::new(),
        has_misfit: false,
    };
    for (at, change) in changes.iter().enumerate() {
        match change.apply(&mut applied.content, to) {
            Ok(()) => applied.kept.push(change.clone()),
            Err(Misfit) => applied.has_misfit |= !changes[at + 1..].iter().any(|later| later.replaces(change)),
        }
    }
    applied
}

/// All of the changes to what is stored, or none. What a later one makes superfluous cannot fail.
pub(crate) fn apply_all(changes: &[Change], content: &Content, joined: bool) -> Result<Content, Misfit> {
    let has_token = content.token.is_some();
    let applied = apply_each(changes, content, Stored { joined, has_token });
    match applied.has_misfit {
        true => Err(Misfit),
        false => Ok(applied.content),
    }
}

/// All of the changes to a session that holds nothing. A CSRF token belongs to an id, and the id was another one.
pub(crate) fn apply_to_nothing(changes: &[Change]) -> Applied {
    let changes: Vec<Change> = changes.iter().filter(|change| !change.is_of_token()).cloned().collect();
    let to = Stored {
        joined: false,
        has_token: false,
    };
    apply_each(&changes, &Content::default(), to)
}

impl Content {
    fn put(&mut self, key: Key, value: Value) {
        self.flash.remove(key);
        self.values.insert(key, value);
    }

    fn forget(&mut self, key: Key) {
        self.flash.remove(key);
        self.values.remove(key);
    }

    /// Whether there is nothing worth a record.
    pub(crate) fn is_empty(&self) -> bool {
        self.values.is_empty() && self.flash.is_empty() && self.token.is_none() && self.owner.is_none()
    }
}
