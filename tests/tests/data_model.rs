//! The data API against a naive model, written from the words of DESIGN 3: any sequence of calls, over several requests.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use session_schema::Session;
use session_tests::{Backing, Site};
use tokio::runtime::{Builder, Runtime};

#[derive(Clone, Debug)]
enum Op {
    Get(&'static str),
    Put(&'static str, Value),
    Pull(&'static str),
    Forget(Vec<&'static str>),
    Flush,
    Replace(Vec<(&'static str, Value)>),
    Merge(Vec<(&'static str, Value)>),
    Remember(&'static str, Value),
    Increment(&'static str, i64),
    Decrement(&'static str, i64),
    Push(&'static str, Value),
    Update(&'static str),
    Flash(&'static str, Value),
    Now(&'static str, Value),
    Keep(Vec<&'static str>),
    Reflash,
    /// In the middle of a request.
    Save,
}

/// A session as its documentation describes it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    values: BTreeMap<&'static str, Value>,
    /// Flashed by the request before: this one is the last to see it.
    old: Vec<&'static str>,
    /// Flashed or kept by this request.
    new: Vec<&'static str>,
    /// For this request only.
    now: BTreeMap<&'static str, Value>,
}

impl Model {
    fn see(&self, key: &str) -> Option<&Value> {
        self.now.get(key).or_else(|| self.values.get(key))
    }

    fn all(&self) -> Value {
        let mut all = self.values.clone();
        all.extend(self.now.clone());
        Value::Object(all.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }

    fn forget(&mut self, key: &str) {
        self.values.remove(key);
        self.now.remove(key);
        self.old.retain(|old| *old != key);
        self.new.retain(|new| *new != key);
    }

    fn put(&mut self, key: &'static str, value: Value) {
        self.forget(key);
        self.values.insert(key, value);
    }

    fn flash(&mut self, key: &'static str, value: Value) {
        self.put(key, value);
        self.new.push(key);
    }

    fn keep(&mut self, key: &'static str) {
        if let Some(value) = self.now.get(key).cloned() {
            self.flash(key, value);
        } else if self.old.contains(&key) {
            self.old.retain(|old| *old != key);
            self.new.push(key);
        }
    }

    /// What was old leaves the store; this request goes on seeing it.
    fn save(&mut self) {
        for key in std::mem::take(&mut self.old) {
            let value = self.values.remove(key).expect("flash has a value");
            self.now.entry(key).or_insert(value);
        }
    }

    fn next_request(&mut self) {
        self.save();
        self.now.clear();
        self.old = std::mem::take(&mut self.new);
    }

    /// Does it, and returns what the session has to return: JSON, or `None` for an error.
    fn apply(&mut self, op: &Op) -> Option<Value> {
        match op.clone() {
            Op::Get(key) => return Some(self.see(key).cloned().unwrap_or_default()),
            Op::Put(key, value) => self.put(key, value),
            Op::Pull(key) => {
                let value = self.see(key).cloned().unwrap_or_default();
                self.forget(key);
                return Some(value);
            }
            Op::Forget(keys) => keys.iter().for_each(|key| self.forget(key)),
            Op::Flush => *self = Self::default(),
            Op::Replace(content) => {
                *self = Self::default();
                content.into_iter().for_each(|(key, value)| self.put(key, value));
            }
            Op::Merge(content) => content.into_iter().for_each(|(key, value)| self.put(key, value)),
            Op::Remember(key, value) => {
                if let Some(there) = self.see(key).filter(|value| !value.is_null()) {
                    return Some(there.clone());
                }
                self.put(key, value.clone());
                return Some(value);
            }
            Op::Increment(key, by) => return self.add(key, by.into()),
            Op::Decrement(key, by) => return self.add(key, -i128::from(by)),
            Op::Push(key, value) => {
                let mut list = match self.see(key) {
                    None | Some(Value::Null) => Vec::new(),
                    Some(there) => there.as_array()?.clone(),
                };
                list.push(value);
                self.put(key, list.into());
            }
            Op::Update(key) => {
                let text = match self.see(key) {
                    None | Some(Value::Null) => String::new(),
                    Some(there) => there.as_str()?.to_owned(),
                };
                self.put(key, (text + "!").into());
            }
            Op::Flash(key, value) => self.flash(key, value),
            Op::Now(key, value) => drop(self.now.insert(key, value)),
            Op::Keep(keys) => keys.iter().for_each(|key| self.keep(key)),
            Op::Reflash => KEYS.iter().for_each(|key| self.keep(key)),
            Op::Save => self.save(),
        }
        Some(Value::Null)
    }

    fn add(&mut self, key: &'static str, by: i128) -> Option<Value> {
        let there = match self.see(key) {
            None | Some(Value::Null) => 0,
            Some(there) => there.as_i64()?,
        };
        let sum = i64::try_from(i128::from(there) + by).ok()?;
        self.put(key, sum.into());
        Some(sum.into())
    }
}

async fn apply(session: &Session, op: Op) -> session_schema::Result<Value> {
    let object = |content: Vec<(&'static str, Value)>| -> Map<String, Value> {
        content
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect()
    };
    let done = match op {
        Op::Get(key) => return session.get_or(key, Value::Null),
        Op::Put(key, value) => session.put(key, value),
        Op::Pull(key) => return session.pull_or(key, Value::Null),
        Op::Forget(keys) => session.forget(keys),
        Op::Flush => session.flush(),
        Op::Replace(content) => session.replace(object(content)),
        Op::Merge(content) => session.merge(object(content)),
        Op::Remember(key, value) => return session.remember(key, || value),
        Op::Increment(key, by) => return session.increment(key, by).map(Value::from),
        Op::Decrement(key, by) => return session.decrement(key, by).map(Value::from),
        Op::Push(key, value) => session.push(key, value),
        Op::Update(key) => session.update(key, |text: &mut String| text.push('!')),
        Op::Flash(key, value) => session.flash(key, value),
        Op::Now(key, value) => session.now(key, value),
        Op::Keep(keys) => session.keep(keys),
        Op::Reflash => session.reflash(),
        Op::Save => session.save().await,
    };
    done.map(|()| Value::Null)
}

const KEYS: [&str; 3] = ["a", "b", "c"];

fn operations() -> impl Strategy<Value = Op> {
    let key = || prop::sample::select(KEYS.as_slice());
    let keys = || prop::collection::vec(key(), 0..3);
    let value = || {
        prop_oneof![
            Just(Value::Null),
            prop_oneof![-2..3_i64, Just(i64::MAX), Just(i64::MIN)].prop_map(Value::from),
            prop::sample::select(vec![
                json!("x"),
                json!([]),
                json!([1, "y"]),
                json!({"k": 1}),
                json!(u64::MAX)
            ]),
        ]
    };
    let content = || prop::collection::vec((key(), value()), 0..3);
    let by = || prop_oneof![-2..3_i64, Just(i64::MAX), Just(i64::MIN)];
    prop_oneof![
        key().prop_map(Op::Get),
        (key(), value()).prop_map(|(key, value)| Op::Put(key, value)),
        key().prop_map(Op::Pull),
        keys().prop_map(Op::Forget),
        Just(Op::Flush),
        content().prop_map(Op::Replace),
        content().prop_map(Op::Merge),
        (key(), value()).prop_map(|(key, value)| Op::Remember(key, value)),
        (key(), by()).prop_map(|(key, by)| Op::Increment(key, by)),
        (key(), by()).prop_map(|(key, by)| Op::Decrement(key, by)),
        (key(), value()).prop_map(|(key, value)| Op::Push(key, value)),
        key().prop_map(Op::Update),
        (key(), value()).prop_map(|(key, value)| Op::Flash(key, value)),
        (key(), value()).prop_map(|(key, value)| Op::Now(key, value)),
        keys().prop_map(Op::Keep),
        Just(Op::Reflash),
        Just(Op::Save),
    ]
}

fn requests() -> impl Strategy<Value = Vec<Vec<Op>>> {
    prop::collection::vec(prop::collection::vec(operations(), 0..8), 1..6)
}

/// One request: the calls are made on a loaded session and on the model, and compared one by one.
async fn check_request(session: &Session, ops: Vec<Op>, model: &mut Model) {
    for op in ops {
        let expected = model.apply(&op);
        let found = apply(session, op.clone()).await;
        assert_eq!(found.ok(), expected, "{op:?}");
        assert_eq!(Value::Object(session.all()), model.all(), "after {op:?}");
    }
    for key in KEYS {
        let expected = model.see(key);
        assert_eq!(session.exists(key), expected.is_some(), "{key}");
        assert_eq!(session.missing(key), expected.is_none(), "{key}");
        assert_eq!(
            session.has(key),
            expected.is_some_and(|value| !value.is_null()),
            "{key}"
        );
    }
}

async fn check(site: Site, requests: Vec<Vec<Op>>) {
    let manager = site.manager();
    let (mut model, mut id) = (Model::default(), None::<String>);
    for ops in requests {
        let session = manager.build_session(site.driver.clone(), id.as_deref());
        session.start().await.unwrap();
        let before = model.clone();
        let saves = ops.iter().any(|op| matches!(op, Op::Save));
        site.calls.take();
        check_request(&session, ops, &mut model).await;
        session.save().await.unwrap();
        model.next_request();
        let writes = site.calls.take().write;
        if model == before && model.old.is_empty() && !saves {
            assert_eq!(writes, 0, "nothing has changed, and yet it was written");
        } else {
            assert!(writes <= 1 || saves, "one save is one write");
        }
        id = Some(session.id().as_str().to_owned());
    }
    let session = manager.build_session(site.driver.clone(), id.as_deref());
    session.start().await.unwrap();
    assert_eq!(Value::Object(session.all()), model.all());
}

/// All changes are made before the session is loaded, and have to come out as if they had been made after.
async fn check_early(site: Site, mut requests: Vec<Vec<Op>>) {
    let depends_on_what_is_there = |op: &Op| {
        // Their results, or whether they do anything, follow from what has been loaded.
        matches!(
            op,
            Op::Remember(..) | Op::Pull(..) | Op::Get(..) | Op::Save | Op::Keep(..) | Op::Reflash
        )
    };
    requests
        .iter_mut()
        .for_each(|ops| ops.retain(|op| !depends_on_what_is_there(op)));
    let manager = site.manager();
    let mut ids = [None::<String>, None];
    for ops in requests {
        let mut results = Vec::new();
        for (at, id) in ids.iter_mut().enumerate() {
            let session = manager.build_session(site.driver.clone(), id.as_deref());
            if at == 0 {
                session.start().await.unwrap();
            }
            // What does not fit what is there is an error at once for the one, and in `start` for the other.
            let mut fits = true;
            for op in ops.clone() {
                fits &= apply(&session, op).await.is_ok();
            }
            fits &= session.start().await.is_ok();
            results.push((fits, session.all(), session, id));
        }
        let same = results[0].0 && results[1].0;
        if same {
            assert_eq!(results[0].1, results[1].1);
            for (.., session, id) in results {
                session.save().await.unwrap();
                *id = Some(session.id().as_str().to_owned());
            }
        }
    }
}

/// One store is enough for all cases: each has sessions of its own.
fn on_a_site<Fut: Future<Output = ()>>(check: impl FnOnce(Site) -> Fut) {
    thread_local! {
        static RUNTIME: Runtime = Builder::new_current_thread().enable_all().build().unwrap();
        static SITE: Site = Site::over(Backing::Memory);
    }
    RUNTIME.with(|runtime| runtime.block_on(check(SITE.with(Site::clone))));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_calls_does_what_the_documentation_says(requests in requests()) {
        // DATA, FLASH
        on_a_site(|site| check(site, requests));
    }

    #[test]
    fn what_is_changed_before_loading_comes_out_as_if_it_were_changed_after(requests in requests()) {
        // DESIGN 3
        on_a_site(|site| check_early(site, requests));
    }
}
