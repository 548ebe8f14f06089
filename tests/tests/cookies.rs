//! The session's cookie: its attributes, how it is found, and what may stand around it.

use std::panic::AssertUnwindSafe;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::IntoResponse;
use session_schema::{Config, SameSite, Session, SessionLayer};
use session_tests::{App, Browser, Calls, SetCookie, Site, Visit, on_every_driver, some_id};
use tower::Layer;

async fn signed_in(app: &App) -> Browser {
    let browser = app.browser();
    browser.visit(|session| session.put("user", 7).unwrap()).await.value();
    browser
}

async fn first_cookie(app: App) -> SetCookie {
    let visit = app.browser().visit(|session| session.put("user", 7).unwrap()).await;
    visit.cookie().expect("a session begins")
}

/// What somebody sees who sends these `Cookie` headers.
async fn seen_with(app: &App, cookies: &[&str]) -> Option<u8> {
    let cookies: Vec<_> = cookies.iter().map(|cookie| cookie.as_bytes()).collect();
    let visit = app
        .visit_with_cookies(&cookies, |session| session.get::<u8>("user").unwrap())
        .await;
    assert!(
        visit.cookies().is_empty(),
        "a response that merely reads sets no cookie"
    );
    visit.value()
}

/// What a layer that cannot be right says.
fn refusal(layer: SessionLayer) -> String {
    let applied = std::panic::catch_unwind(AssertUnwindSafe(|| layer.layer(Router::<()>::new())));
    let Err(panic) = applied else {
        panic!("the settings are accepted")
    };
    panic.downcast_ref::<String>().expect("a panic says why").clone()
}

async fn the_defaults_are_safe(site: Site) {
    // COOK-01, COOK-02, COOK-03, COOK-06, COOK-07, COOK-08
    let cookie = first_cookie(site.app()).await;
    assert_eq!(cookie.name(), "__Host-session");
    assert_eq!((cookie.http_only(), cookie.secure()), (Some(true), Some(true)));
    assert_eq!(cookie.same_site(), Some(cookie::SameSite::Lax));
    assert_eq!((cookie.path(), cookie.domain()), (Some("/"), None));
    assert!(cookie.max_age().is_some() && cookie.expires().is_some());
}

async fn every_attribute_can_be_chosen(site: Site) {
    // COOK-01, COOK-04, COOK-07
    let layer = site
        .layer()
        .with_http_only(false)
        .with_secure(false)
        .with_path("/shop/a%20b")
        .with_domain("example.com");
    let app = App::with_name(layer, "session");
    let cookie = first_cookie(app).await;
    assert_eq!((cookie.http_only(), cookie.secure()), (None, None));
    assert_eq!(
        (cookie.path(), cookie.domain()),
        (Some("/shop/a%20b"), Some("example.com"))
    );
    let same_sites = [
        (SameSite::Strict, cookie::SameSite::Strict),
        (SameSite::Lax, cookie::SameSite::Lax),
        (SameSite::None, cookie::SameSite::None),
    ];
    for (chosen, sent) in same_sites {
        let cookie = first_cookie(site.app_with(|layer| layer.with_same_site(chosen))).await;
        assert_eq!(cookie.same_site(), Some(sent));
    }
}

async fn a_chosen_name_is_the_only_one(site: Site) {
    // COOK-08, COOK-18
    let app = App::with_name(site.layer().with_cookie_name("__Host-shop"), "__Host-shop");
    let browser = app.browser();
    let visit = browser.visit(|session| session.put("user", 7).unwrap()).await;
    assert_eq!(visit.cookies().len(), 1);
    assert_eq!(visit.cookie().unwrap().name(), "__Host-shop");
    let id = browser.id();
    assert_eq!(seen_with(&app, &[&format!("__Host-shop={id}")]).await, Some(7));
    for other in ["session", "__Host-session"] {
        assert_eq!(seen_with(&app, &[&format!("{other}={id}")]).await, None);
    }
}

async fn settings_that_browsers_would_not_take_are_refused_at_start(site: Site) {
    // COOK-09, COOK-17, COOK-28, ERR-22
    let layer = || site.layer();
    for (layer, word) in [
        (layer().with_cookie_name(""), "`cookie`"),
        (layer().with_cookie_name("a b"), "`cookie`"),
        (layer().with_cookie_name("a;b"), "`cookie`"),
        (layer().with_cookie_name("a=b"), "`cookie`"),
        (layer().with_cookie_name("a\nb"), "`cookie`"),
        (layer().with_path("/; Domain=evil.example"), "`path`"),
        (layer().with_path("/\r\nX: y"), "`path`"),
        (layer().with_path("shop"), "`path`"),
        (layer().with_domain("evil.example; Path=/"), "`domain`"),
        (layer().with_domain("https://example.com"), "`domain`"),
        (
            layer().with_cookie_name("__Host-a").with_domain("example.com"),
            "`domain`",
        ),
        (layer().with_cookie_name("__Host-a").with_path("/shop"), "`path`"),
        (layer().with_cookie_name("__Host-a").with_secure(false), "`secure`"),
        (layer().with_cookie_name("__Secure-a").with_secure(false), "`secure`"),
        (layer().with_same_site(SameSite::None).with_secure(false), "`same_site`"),
        (layer().with_lifetime(std::time::Duration::ZERO), "`lifetime`"),
    ] {
        let said = refusal(layer);
        assert!(said.contains(word), "{word}: {said}");
    }
}

async fn configured_settings_that_contradict_each_other_are_errors_in_the_same_words(site: Site) {
    // COOK-17, ERR-22
    let mut config = Config::default();
    (config.cookie, config.domain) = ("__Host-a".into(), Some("example.com".into()));
    let error = site.layer().with_config(&config).unwrap_err().to_string();
    let panic = refusal(site.layer().with_cookie_name("__Host-a").with_domain("example.com"));
    assert!(panic.contains(&error), "{panic}: {error}");
}

async fn a_cookie_is_removed_with_the_attributes_it_was_set_with(site: Site) {
    // COOK-13, COOK-14, COOK-16
    let layer = site
        .layer()
        .with_path("/shop")
        .with_domain("example.com")
        .with_same_site(SameSite::Strict);
    let app = App::with_name(layer, "session");
    let browser = signed_in(&app).await;
    let mut set = browser
        .visit(|session| session.regenerate().unwrap())
        .await
        .cookie()
        .unwrap();
    // From an address that is not below the path.
    let request = Request::get("/elsewhere/logout").body(Body::empty()).unwrap();
    let visit = browser
        .visit_as(request, async |session| session.invalidate().unwrap())
        .await;
    let mut removed = visit.cookie().unwrap();
    assert_eq!((removed.value(), removed.max_age().unwrap().is_zero()), ("", true));
    assert_eq!(removed.expires_datetime().unwrap().unix_timestamp(), 0);
    for cookie in [&mut set, &mut removed] {
        cookie.set_value("");
        cookie.set_max_age(None);
        cookie.unset_expires();
    }
    assert_eq!(set, removed);
}

async fn names_are_compared_byte_by_byte(site: Site) {
    // COOK-19, COOK-21
    let app = App::with_name(site.layer().with_cookie_name("__Host-id"), "__Host-id");
    let id = signed_in(&app).await.id();
    assert_eq!(seen_with(&app, &[&format!("__Host-id={id}")]).await, Some(7));
    for name in [
        "%5F%5FHost-id",
        "__Host-idINVALID",
        "x__Host-id",
        "__host-id",
        "__Host-id ",
        "\"__Host-id\"",
        "__Host-i",
    ] {
        assert_eq!(seen_with(&app, &[&format!("{name}={id}")]).await, None, "{name}");
    }
}

async fn the_cookie_is_found_wherever_it_stands(site: Site) {
    // COOK-22, COOK-23, COOK-24
    let app = site.app();
    let id = signed_in(&app).await.id();
    let id = format!("__Host-session={id}");
    for headers in [
        vec![id.clone()],
        vec![format!("{id}; a=b")],
        vec![format!("a=b; {id}")],
        vec![format!("a=b;{id};c=d")],
        vec![format!("a; =; ;;  {id}")],
        vec!["a=b".into(), id.clone(), "c=d".into()],
        vec![String::new(), format!("a=\"b; c\"; {id}")],
        vec![format!("__Host-session=; {id}")],
        vec!["__Host-session=".into(), format!("__Host-session; {id}")],
    ] {
        let headers: Vec<_> = headers.iter().map(String::as_str).collect();
        assert_eq!(seen_with(&app, &headers).await, Some(7), "{headers:?}");
    }
}

async fn of_several_cookies_the_first_that_loads_wins(site: Site) {
    // ID-06, D47
    let app = site.app();
    let one = signed_in(&app).await;
    let two = app.browser();
    two.visit(|session| session.put("user", 8).unwrap()).await.value();
    let [one, two] = [one, two].map(|browser| format!("__Host-session={}", browser.id()));
    let unknown = format!("__Host-session={}", some_id());
    let malformed = "__Host-session=wrong";
    let corrupt = format!("__Host-session={}", site.plant("no JSON").await);
    assert_eq!(seen_with(&app, &[&format!("{one}; {two}")]).await, Some(7));
    assert_eq!(seen_with(&app, &[&format!("{two}; {one}")]).await, Some(8));
    assert_eq!(
        seen_with(&app, &[&unknown, malformed, &corrupt, &two, &one]).await,
        Some(8)
    );
    // Whoever plants cookies cannot make the server look up any number of them.
    let unknown_ids: Vec<_> = (0..8).map(|_| format!("__Host-session={}", some_id())).collect();
    let many: Vec<_> = unknown_ids[..7].iter().map(String::as_str).collect();
    assert_eq!(seen_with(&app, &[many.clone(), vec![&one]].concat()).await, Some(7));
    site.calls.take();
    assert_eq!(
        seen_with(&app, &[many, vec![&unknown_ids[7], &one]].concat()).await,
        None
    );
    assert_eq!(site.calls.take().read, 8);
}

async fn a_request_that_found_its_session_behind_another_cookie_goes_on_with_it(site: Site) {
    // D47
    let app = site.app();
    let id = signed_in(&app).await.id();
    let cookies = [format!("__Host-session={}", some_id()), format!("__Host-session={id}")];
    let cookies = cookies.each_ref().map(|cookie| cookie.as_bytes());
    let visit = app
        .visit_with_cookies(&cookies, |session| session.put("user", 9).unwrap())
        .await;
    assert!(visit.cookies().is_empty());
    assert_eq!(site.payload(&id).await["user"], 9);
}

async fn cookies_of_the_handler_stay(site: Site) {
    // COOK-26, COOK-27
    let browser = site.app().browser();
    let visit = browser.send(Request::new(Body::empty()), async |request: Request| {
        let session = Session::of(&request).unwrap();
        session.put("user", 7).unwrap();
        session.save().await.unwrap();
        session.regenerate().unwrap();
        session.put("user", 8).unwrap();
        let mut response = StatusCode::OK.into_response();
        response
            .headers_mut()
            .append(SET_COOKIE, HeaderValue::from_static("theme=dark"));
        response
            .headers_mut()
            .append(SET_COOKIE, HeaderValue::from_static("lang=en"));
        response
    });
    let visit: Visit<()> = visit.await;
    let names: Vec<_> = visit.cookies().iter().map(|cookie| cookie.name().to_owned()).collect();
    assert_eq!(names, ["theme", "lang", "__Host-session"]);
    assert_eq!(site.payload(&browser.id()).await["user"], 8);
}

/// What a response sets whose handler does this with its session and sets cookies of its own, among them two of the session's name.
async fn set_beside_the_handlers_own(browser: &Browser, change: fn(&Session)) -> Vec<String> {
    let visit = browser.send(Request::new(Body::empty()), async move |request: Request| {
        let session = Session::of(&request).unwrap();
        session.start().await.unwrap();
        change(&session);
        let mut response = StatusCode::OK.into_response();
        for cookie in [
            "theme=dark",
            "__Host-session=planted; Path=/",
            "sessions=1",
            " __Host-session =; Max-Age=0",
            "lang=en",
            "SESSION=2",
        ] {
            response
                .headers_mut()
                .append(SET_COOKIE, HeaderValue::from_static(cookie));
        }
        response
    });
    let headers = visit.await.headers;
    let cookies = headers.get_all(SET_COOKIE).iter().map(|value| value.to_str().unwrap());
    cookies.map(str::to_owned).collect()
}

async fn the_sessions_cookie_takes_the_place_of_one_that_the_handler_sets_under_its_name(site: Site) {
    // COOK-27, COOK-26
    let browser = site.app().browser();
    let changes: [fn(&Session); 3] = [
        |session| session.put("user", 7).unwrap(),
        |session| session.regenerate().unwrap(),
        |session| session.invalidate().unwrap(),
    ];
    for change in changes {
        let mut cookies = set_beside_the_handlers_own(&browser, change).await;
        let last = cookies.pop().unwrap();
        assert_eq!(cookies, ["theme=dark", "sessions=1", "lang=en", "SESSION=2"]);
        let own = SetCookie::parse(last).unwrap();
        assert_eq!(
            (own.name(), own.value()),
            ("__Host-session", &*browser.maybe_id().unwrap_or_default())
        );
    }
}

async fn where_no_cookie_has_to_be_set_the_handlers_own_stay(site: Site) {
    // COOK-26
    let changes: [fn(&Session); 2] = [
        |session| assert!(session.has("user")),
        |session| session.put("user", 8).unwrap(),
    ];
    for change in changes {
        let browser = signed_in(&site.app()).await;
        let cookies = set_beside_the_handlers_own(&browser, change).await;
        assert_eq!(cookies.len(), 6, "{cookies:?}");
        assert_eq!(cookies[1], "__Host-session=planted; Path=/");
    }
}

async fn an_oversized_cookie_is_not_looked_at(site: Site) {
    // COOK-29, ERR-12
    let app = site.app();
    let calls: Calls = site.calls.clone();
    for length in [41, 4065, 1 << 20] {
        assert_eq!(
            seen_with(&app, &[&format!("__Host-session={}", "x".repeat(length))]).await,
            None
        );
    }
    assert_eq!(calls.take(), session_tests::Counts::NONE);
}

async fn the_cookie_is_sent_over_plain_http_too(site: Site) {
    // D48, COOK-34: TLS may end at a proxy, and no other layer is needed.
    let request = Request::get("http://example.com/").body(Body::empty()).unwrap();
    let visit = site
        .app()
        .browser()
        .visit_as(request, async |session| session.put("a", 1).unwrap())
        .await;
    assert_eq!(visit.cookie().unwrap().secure(), Some(true));
}

async fn one_id_under_many_cookies_does_not_cost_many_reads(site: Site) {
    // The low list: who is not signed in may cost eight reads.
    let app = site.app();
    let [one, two] = [some_id(), some_id()].map(|id| format!("__Host-session={id}"));
    assert_eq!(seen_with(&app, &[&one, &one, &two, &one, &two]).await, None);
    assert_eq!(site.calls.take().read, 2);
}

on_every_driver! {
    one_id_under_many_cookies_does_not_cost_many_reads,
    the_defaults_are_safe,
    every_attribute_can_be_chosen,
    a_chosen_name_is_the_only_one,
    settings_that_browsers_would_not_take_are_refused_at_start,
    configured_settings_that_contradict_each_other_are_errors_in_the_same_words,
    a_cookie_is_removed_with_the_attributes_it_was_set_with,
    names_are_compared_byte_by_byte,
    the_cookie_is_found_wherever_it_stands,
    of_several_cookies_the_first_that_loads_wins,
    a_request_that_found_its_session_behind_another_cookie_goes_on_with_it,
    cookies_of_the_handler_stay,
    the_sessions_cookie_takes_the_place_of_one_that_the_handler_sets_under_its_name,
    where_no_cookie_has_to_be_set_the_handlers_own_stay,
    an_oversized_cookie_is_not_looked_at,
    the_cookie_is_sent_over_plain_http_too,
}
