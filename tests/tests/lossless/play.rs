//! Plays a request: through the real library, and beside it through the model. Whatever the library says is compared at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use http::header::{COOKIE, SET_COOKIE};
use http::{Request, Response};
use serde_json::{Map, Value};
use session_schema::{Config, Driver, ErrorKind, Session, SessionId, SessionLayer, SessionManager, StoreKey};
use tokio::sync::OwnedMutexGuard;
use tokio::task::JoinHandle;
use tower::{Layer, ServiceExt, service_fn};

use crate::driver::Instrumented;
use crate::model::CookieIs;
use crate::rules::{Change, Function, Key};
use crate::script::{By, Cookie, End, Op, Script};
use crate::world::World;

impl Script {
    /// A request with what its browser has.
    pub(crate) fn look(ops: Vec<Op>) -> Self {
        Self {
            browser: 0,
            cookie: Cookie::Current,
            by: By::Layer,
            ops,
            task: Vec::new(),
            end: End::Status(200),
        }
    }
}

/// Starts a request; it waits for its turn at once.
pub(crate) fn spawn(world: &Arc<World>, script: Script) -> (usize, JoinHandle<()>) {
    let request = world.model().arrive();
    let player = Player {
        world: world.clone(),
        request,
        saving: Arc::default(),
        closing: Arc::default(),
    };
    (request, tokio::spawn(player.play(script)))
}

/// The service failed.
#[derive(Debug)]
struct Broken;

#[derive(Clone)]
struct Player {
    world: Arc<World>,
    request: usize,
    /// Held by whoever saves or reloads, so that the model knows what is saved.
    saving: Arc<tokio::sync::Mutex<()>>,
    /// Held from when the handler returns until the response is there.
    closing: Arc<Mutex<Option<OwnedMutexGuard<()>>>>,
}

impl Player {
    async fn play(self, script: Script) {
        self.world.stage.gate(self.request, false).await;
        self.world
            .model()
            .note(|| format!("r{} begins: {script:?}", self.request));
        match script.by {
            By::Layer => self.through_the_layer(script).await,
            By::Hand { save } => self.by_hand(script, save).await,
            By::Admin { owner, elsewhere } => {
                let except = self.world.cookie_of(&script).filter(|_| elsewhere);
                self.end_sessions_of(owner, except).await;
            }
        }
    }

    fn driver(&self) -> Instrumented {
        Instrumented {
            world: self.world.clone(),
            request: self.request,
        }
    }

    fn violate(&self, what: impl Into<String>) {
        let what = what.into();
        self.world.model().violate(format!("r{}: {what}", self.request));
    }

    async fn through_the_layer(self, script: Script) {
        let mut request = Request::new(String::new());
        if let Some(id) = self.world.cookie_of(&script) {
            let cookie = format!("__Host-session={}", id.as_str());
            request
                .headers_mut()
                .insert(COOKIE, cookie.parse().expect("an id is a header value"));
        }
        let layer = SessionLayer::new(self.driver())
            .with_clock(self.world.clock())
            .with_gc_interval(Duration::ZERO);
        let (browser, end) = (script.browser, script.end);
        let player = self.clone();
        let service = layer.layer(service_fn(move |request: Request<String>| {
            player.clone().handle(request, script.clone())
        }));
        match service.oneshot(request).await {
            Ok(response) => self.answered(response, browser, end),
            Err(Broken) => {
                if end != End::Broken {
                    self.violate("the layer failed");
                }
            }
        }
    }

    async fn handle(self, request: Request<String>, script: Script) -> Result<Response<String>, Broken> {
        let Some(session) = Session::of(&request) else {
            self.violate("a request has no session");
            return Err(Broken);
        };
        if !self.start(&session).await {
            let mut response = Response::new(String::new());
            *response.status_mut() = http::StatusCode::IM_A_TEAPOT;
            return Ok(response);
        }
        self.leave_task(&session, &script);
        for op in &script.ops {
            self.call(&session, op).await;
        }
        self.world.heard_of(session.id());
        match script.end {
            End::Broken => Err(Broken),
            End::Status(status) => {
                let saved = self.saving.clone().lock_owned().await;
                *self.closing() = Some(saved);
                self.world.model().close(self.request);
                self.world.model().begin_save(self.request, true);
                let mut response = Response::new(String::new());
                *response.status_mut() = http::StatusCode::from_u16(status).expect("scripts have real statuses");
                Ok(response)
            }
        }
    }

    fn closing(&self) -> MutexGuard<'_, Option<OwnedMutexGuard<()>>> {
        self.closing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A task that uses the session beside its handler, and after it.
    fn leave_task(&self, session: &Session, script: &Script) {
        if script.task.is_empty() {
            return;
        }
        let (player, session, ops) = (self.clone(), session.clone(), script.task.clone());
        let task = tokio::spawn(async move {
            player.world.stage.gate(player.request, false).await;
            for op in &ops {
                player.call(&session, op).await;
            }
        });
        self.world.left(self.request, task);
    }

    fn answered(&self, response: Response<String>, browser: usize, end: End) {
        let saved = self.closing().take();
        self.compare_response(response, browser, end);
        drop(saved);
    }

    /// Compares a response with what it has to say.
    fn compare_response(&self, response: Response<String>, browser: usize, end: End) {
        let status = response.status().as_u16();
        let result = match (status, end) {
            (418, _) => Ok(()),
            (status, End::Status(wanted)) if status == wanted => Ok(()),
            (503, _) => Err(ErrorKind::Unavailable),
            (409, _) => Err(self.world.model().refusal(self.request)),
            (500, _) => Err(ErrorKind::WrongType),
            (status, _) => return self.violate(format!("the status is {status}")),
        };
        self.world.model().end_save(self.request, result);
        let mut cookies = response.headers().get_all(SET_COOKIE).iter();
        let cookie = cookies.next().and_then(|cookie| cookie.to_str().ok());
        if cookies.next().is_some() {
            self.violate("a response sets two cookies");
        }
        let value = cookie.and_then(|cookie| cookie.strip_prefix("__Host-session=")?.split(';').next());
        let id: Option<SessionId> = value.and_then(|value| value.parse().ok());
        let wanted = self.world.model().cookie(self.request);
        self.world
            .model()
            .note(|| format!("r{} is answered: {status}, cookie {wanted:?}", self.request));
        match (wanted, value, id) {
            (CookieIs::Kept, None, None) => return,
            (CookieIs::Removed, Some(""), None) => {}
            (CookieIs::Set(slot), Some(_), Some(id)) => {
                if StoreKey::from(&id) != self.world.model().key_of(slot) {
                    return self.violate("the cookie leads to another session");
                }
            }
            (wanted, value, _) => {
                let what = value.map_or("nothing", |value| if value.is_empty() { "removal" } else { "an id" });
                return self.violate(format!("the cookie has to be {wanted:?}, it says {what}"));
            }
        }
        self.world.receive(browser, id);
    }

    async fn by_hand(self, script: Script, save: bool) {
        let id = self.world.cookie_of(&script);
        let manager = SessionManager::new(Config::default()).expect("the settings are right");
        let manager = manager.with_clock(self.world.clock());
        let driver: Arc<dyn Driver> = Arc::new(self.driver());
        let session = manager.build_session(driver, id.as_ref().map(SessionId::as_str));
        if !self.start(&session).await {
            return;
        }
        self.leave_task(&session, &script);
        for op in &script.ops {
            self.call(&session, op).await;
        }
        if save {
            self.call(&session, &Op::Save).await;
        }
        self.world.heard_of(session.id());
    }

    async fn end_sessions_of(self, owner: &'static str, except: Option<SessionId>) {
        let mut config = Config::default();
        config.driver = "model".into();
        let manager = SessionManager::new(config).expect("the settings are right");
        let manager = manager.with_clock(self.world.clock());
        let player = self.clone();
        manager.extend("model", move || std::future::ready(Ok(player.driver())));
        let spared = except.as_ref().map(StoreKey::from);
        self.world.model().begin_ending(self.request, owner, spared);
        let result = manager.destroy_sessions_of(owner, except.as_ref()).await;
        let result = result.map_err(|error| error.kind());
        self.world.model().end_ending(self.request, result);
    }

    async fn start(&self, session: &Session) -> bool {
        self.world.model().begin_load(self.request);
        let result = session.start().await;
        self.world.model().end_load(self.request, kind_of(&result));
        if result.is_ok() {
            self.compare(session);
        }
        result.is_ok()
    }

    /// What the session reads as, and what the model says it should.
    fn compare(&self, session: &Session) {
        let all: BTreeMap<String, Value> = session.all().into_iter().collect();
        let mut model = self.world.model();
        let request = &model.requests[self.request];
        let values = request.view.values.iter().chain(&request.shown);
        let wanted: BTreeMap<String, Value> = values.map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        let owner = request.view.owner;
        if all != wanted {
            model.violate(format!("r{} reads {all:?}, it should read {wanted:?}", self.request));
        }
        if session.owner().as_deref() != owner {
            model.violate(format!("r{} reads another owner", self.request));
        }
    }

    async fn call(&self, session: &Session, op: &Op) {
        match op {
            Op::Pause => drop(self.world.stage.gate(self.request, false).await),
            Op::Save => {
                let _saving = self.saving.lock().await;
                self.world.model().begin_save(self.request, false);
                let result = session.save().await;
                self.world.model().end_save(self.request, kind_of(&result));
            }
            Op::Reload => {
                let _saving = self.saving.lock().await;
                self.world.model().begin_reload(self.request);
                let result = session.reload().await;
                self.world.model().end_reload(self.request, kind_of(&result));
            }
            op => self.change(session, op),
        }
        self.world.model().note(|| format!("r{}: {op:?}", self.request));
        self.compare(session);
    }

    fn change(&self, session: &Session, op: &Op) {
        let refused = match op {
            _ if self.world.model().is_closed(self.request) => !matches!(op, Op::Get(_)),
            Op::Regenerate => self.world.model().is_detached(self.request),
            _ => false,
        };
        if refused {
            return self.refuse(session, op);
        }
        let expected = self.expect(op);
        let result = match op.clone() {
            Op::Get(key) => self.got(session.get(key), key, expected.value),
            Op::Put(key, value) => session.put(key, value),
            Op::Pull(key) => self.got(session.pull(key), key, expected.value),
            Op::Forget(keys) => session.forget(keys),
            Op::Flush => session.flush(),
            Op::Replace(content) => session.replace(map(content)),
            Op::Merge(content) => session.merge(map(content)),
            Op::Remember(key, value) => {
                let remembered = session.remember(key, || value).map(Some);
                self.got(remembered, key, expected.value)
            }
            Op::Increment(key, by) => {
                let sum = session.increment(key, by);
                let value = sum.as_ref().ok().map(|sum| Value::from(*sum));
                let result = sum.map(drop);
                self.got(result.map(|()| value), key, expected.value)
            }
            Op::Push(key, value) => session.push(key, value),
            Op::Update(key, Function::Count) => {
                let runs = self.runs();
                session.update(key, move |list: &mut Vec<i64>| {
                    runs.again(list);
                    list.push(list.len() as i64);
                })
            }
            Op::Update(key, function) => {
                let runs = self.runs();
                session.update(key, move |number| {
                    runs.again(number);
                    function.number(number);
                })
            }
            Op::Flash(key, value) => session.flash(key, value),
            Op::Now(key, value) => session.now(key, value),
            Op::Keep(keys) => session.keep(keys),
            Op::Reflash => session.reflash(),
            Op::Token => {
                let token = session.token();
                self.world.model().token(self.request, &token, &session.id());
                Ok(())
            }
            Op::RegenerateToken => session.regenerate_token().map(|()| {
                // Asked in one breath: the model has to know what it is.
                let token = session.token();
                self.world.model().regenerate_token(self.request, &token);
            }),
            Op::SetLifetime(seconds) => session.set_lifetime(Duration::from_secs(seconds)),
            Op::SetOwner(owner) => session.set_owner(owner),
            Op::Regenerate => {
                let (before, fresh) = (session.id(), self.world.model().may_renew(self.request));
                let result = session.regenerate();
                if fresh && session.id().as_str() == before.as_str() {
                    self.violate("a regenerated session has the old id");
                }
                result
            }
            Op::Invalidate => session.invalidate(),
            Op::Save | Op::Reload | Op::Pause => unreachable!("these wait"),
        };
        match result {
            Ok(()) if expected.fits => {}
            Err(error) if !expected.fits && error.kind() == ErrorKind::WrongType => {}
            other => self.violate(format!(
                "{op:?} says {:?}, fits: {}",
                other.map_err(|error| error.kind()),
                expected.fits
            )),
        }
    }

    fn runs<T>(&self) -> Runs<T> {
        Runs {
            player: self.clone(),
            first: OnceLock::new(),
        }
    }

    /// After the response a session takes no more changes.
    fn refuse(&self, session: &Session, op: &Op) {
        let result = match op.clone() {
            Op::Token => return assert_eq!(session.token().len(), 40),
            Op::Put(key, value) => session.put(key, value),
            Op::Flush => session.flush(),
            Op::Push(key, value) => session.push(key, value),
            Op::Flash(key, value) => session.flash(key, value),
            Op::Now(key, value) => session.now(key, value),
            Op::Keep(keys) => session.keep(keys),
            Op::SetOwner(owner) => session.set_owner(owner),
            Op::Regenerate => session.regenerate(),
            Op::Invalidate => session.invalidate(),
            _ => session.forget(["a"]),
        };
        if result.map_err(|error| error.kind()) != Err(ErrorKind::Committed) {
            self.violate(format!("{op:?} was taken after the response"));
        }
    }

    fn got(
        &self,
        found: session_schema::Result<Option<Value>>,
        key: Key,
        wanted: Option<Value>,
    ) -> session_schema::Result<()> {
        let found = found?;
        if found != wanted {
            self.violate(format!("`{key}` is {found:?}, not {wanted:?}"));
        }
        Ok(())
    }

    /// Makes the change in the model.
    fn expect(&self, op: &Op) -> Expect {
        let mut model = self.world.model();
        let (model, request) = (&mut *model, self.request);
        let not_null = |value: Option<Value>| value.filter(|value| !value.is_null());
        let mut expect = Expect {
            fits: true,
            value: None,
        };
        match op.clone() {
            Op::Get(key) => expect.value = not_null(model.value(request, key)),
            Op::Put(key, value) => model.put(request, key, value),
            Op::Pull(key) => {
                expect.value = not_null(model.value(request, key));
                model.forget(request, key);
            }
            Op::Forget(keys) => keys.iter().for_each(|key| model.forget(request, key)),
            // What belonged to an owner does not outlive them.
            Op::Flush if model.has_owner(request) => model.invalidate(request),
            Op::Flush => {
                model.requests[request].shown.clear();
                let number = model.number();
                model.make(request, vec![Change::Flush(number)]);
            }
            Op::Replace(content) => {
                match model.has_owner(request) {
                    true => model.invalidate(request),
                    false => {
                        model.requests[request].shown.clear();
                        model.make(request, vec![Change::Clear]);
                    }
                }
                content
                    .into_iter()
                    .for_each(|(key, value)| model.put(request, key, value));
            }
            Op::Merge(content) => content
                .into_iter()
                .for_each(|(key, value)| model.put(request, key, value)),
            Op::Remember(key, value) => match not_null(model.value(request, key)) {
                Some(found) => expect.value = Some(found),
                None => {
                    model.put(request, key, value.clone());
                    // What was made is returned as it is, null or not.
                    expect.value = Some(value);
                }
            },
            Op::Increment(key, by) => {
                expect.fits = model.change(request, key, Change::Increment(key, by));
                expect.value = model.value(request, key);
            }
            Op::Push(key, value) => expect.fits = model.change(request, key, Change::Push(key, value)),
            Op::Update(key, function) => expect.fits = model.change(request, key, Change::Update(key, function)),
            Op::Flash(key, value) => {
                let message = model.number();
                model.change(request, key, Change::Flash(key, value, message));
            }
            Op::Now(key, value) => drop(model.requests[request].shown.insert(key, value)),
            Op::Keep(keys) => keys.iter().for_each(|key| model.keep(request, key)),
            Op::Reflash => {
                let seen = &model.requests[request];
                let keys: Vec<Key> = seen.shown.keys().chain(seen.view.flash.keys()).copied().collect();
                keys.iter().for_each(|key| model.keep(request, key));
            }
            Op::SetLifetime(seconds) => drop(model.make(request, vec![Change::Lifetime(seconds)])),
            Op::SetOwner(owner) => model.set_owner(request, owner),
            Op::Regenerate => model.regenerate(request),
            Op::Invalidate => model.invalidate(request),
            Op::Token | Op::RegenerateToken | Op::Save | Op::Reload | Op::Pause => {}
        }
        expect
    }
}

/// Watches the runs of a function given to `update`.
struct Runs<T> {
    player: Player,
    first: OnceLock<T>,
}

impl<T: Clone + Default + PartialEq> Runs<T> {
    /// The function runs again only on another value. (Absent and null are different values, and look the same to it.)
    fn again(&self, value: &T) {
        if let Err(value) = self.first.set(value.clone())
            && self.first.get() == Some(&value)
            && value != T::default()
        {
            self.player
                .violate("a function was called again on the value that it had been called on");
        }
    }
}

/// What a call has to say.
struct Expect {
    fits: bool,
    value: Option<Value>,
}

fn map(content: Vec<(Key, Value)>) -> Map<String, Value> {
    content
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

fn kind_of(result: &session_schema::Result<()>) -> Result<(), ErrorKind> {
    match result {
        Ok(()) => Ok(()),
        Err(error) => Err(error.kind()),
    }
}

impl crate::model::Model {
    /// An equal value is a change, too, though alone it is not worth a save: another request may change it first.
    fn put(&mut self, request: usize, key: Key, value: Value) {
        self.change(request, key, Change::Put(key, value));
    }

    fn forget(&mut self, request: usize, key: Key) {
        self.change(request, key, Change::Forget(key));
    }

    /// A change of what is shown to this request only begins with what is shown.
    fn change(&mut self, request: usize, key: Key, change: Change) -> bool {
        let shown = self.requests[request].shown.get(key).cloned();
        let before = shown.map(|value| Change::Put(key, value));
        let fits = self.make(request, before.into_iter().chain([change]).collect());
        if fits {
            self.requests[request].shown.remove(key);
        }
        fits
    }
}
