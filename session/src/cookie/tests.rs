use cookie::time;
use proptest::prelude::*;

use super::*;

const ID: &str = "0123456789-abcdefghijklmnopqrstuvwxyz_AB";

fn id() -> SessionId {
    ID.parse().unwrap()
}

/// The default settings, changed.
fn settings(change: impl FnOnce(&mut CookieSettings)) -> CookieSettings {
    let mut settings = CookieSettings::default();
    change(&mut settings);
    settings
}

fn writer(change: impl FnOnce(&mut CookieSettings)) -> CookieWriter {
    settings(change).check().unwrap()
}

fn refusal(change: impl FnOnce(&mut CookieSettings)) -> String {
    settings(change).check().unwrap_err().to_string()
}

fn unix(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

/// What a client reads in a `Set-Cookie`.
fn parse(value: &HeaderValue) -> Cookie<'_> {
    Cookie::parse(value.to_str().unwrap()).unwrap()
}

fn found(headers: &[&[u8]], name: &str) -> Vec<String> {
    let headers: Vec<_> = headers
        .iter()
        .map(|header| HeaderValue::from_bytes(header).unwrap())
        .collect();
    candidates(headers.iter(), name)
        .map(|id| id.as_str().to_owned())
        .collect()
}

/// An id of one letter.
fn of(letter: char) -> String {
    letter.to_string().repeat(40)
}

// COOK-01, COOK-02, COOK-03, COOK-06, COOK-08
#[test]
fn a_cookie_is_secure_hidden_from_scripts_lax_and_for_the_whole_host_unless_said_otherwise() {
    let value = writer(|_| ()).set(&id(), None);
    let cookie = parse(&value);
    assert_eq!(cookie.name_value(), ("__Host-session", ID));
    assert_eq!((cookie.secure(), cookie.http_only()), (Some(true), Some(true)));
    assert_eq!(cookie.same_site(), Some(cookie::SameSite::Lax));
    assert_eq!((cookie.path(), cookie.domain()), (Some("/"), None));
}

// COOK-01, COOK-02, COOK-07
#[test]
fn every_attribute_is_written_as_it_was_configured() {
    let value = writer(|settings| {
        *settings = CookieSettings {
            name: Some("id".into()),
            path: "/shop/%20a".into(),
            domain: Some("shop.example.com".into()),
            secure: false,
            http_only: false,
            same_site: SameSite::Strict,
            partitioned: false,
        }
    })
    .set(&id(), None);
    let expected = format!("id={ID}; SameSite=Strict; Path=/shop/%20a; Domain=shop.example.com");
    assert_eq!(value, expected);
}

// COOK-04
#[test]
fn same_site_is_written_in_each_of_its_three_forms() {
    for (same_site, text) in [
        (SameSite::Strict, "; SameSite=Strict;"),
        (SameSite::Lax, "; SameSite=Lax;"),
        (SameSite::None, "; SameSite=None;"),
    ] {
        let value = writer(|settings| settings.same_site = same_site).set(&id(), None);
        assert!(value.to_str().unwrap().contains(text), "{same_site:?}");
    }
}

#[test]
fn the_default_name_promises_no_more_than_the_other_settings_keep() {
    let name = |change: fn(&mut CookieSettings)| writer(change).name().to_owned();
    assert_eq!(name(|_| ()), "__Host-session");
    assert_eq!(name(|settings| settings.http_only = false), "__Host-session");
    assert_eq!(name(|settings| settings.secure = false), "session");
    assert_eq!(name(|settings| settings.path = "/shop".into()), "session");
    assert_eq!(name(|settings| settings.domain = Some("example.com".into())), "session");
    assert_eq!(name(|settings| settings.name = Some("session".into())), "session");
}

#[test]
fn a_cookie_is_not_partitioned_unless_browsers_accept_that() {
    let text = refusal(|settings| (settings.partitioned, settings.secure) = (true, false));
    assert!(
        text.starts_with("`partitioned` ") && text.contains("`secure`"),
        "{text}"
    );
    let written = |partitioned| writer(|settings| settings.partitioned = partitioned).set(&id(), None);
    assert!(written(true).to_str().unwrap().contains("; Partitioned"));
    assert!(!written(false).to_str().unwrap().contains("Partitioned"));
}

// COOK-09, COOK-28
#[test]
fn a_name_that_is_no_token_is_refused() {
    for name in ["", "a b", "a=b", "a;b", "a,b", "a\"", "a\n", "a\0", "a/b", "ä", "(a)"] {
        let text = refusal(|settings| settings.name = Some(name.into()));
        assert!(text.starts_with("`cookie` "), "{name:?}: {text}");
    }
    assert!(refusal(|settings| settings.name = Some("n".repeat(4057))).contains("4056"));
    writer(|settings| settings.name = Some("n".repeat(4056)));
    writer(|settings| settings.name = Some("!#$%&'*+-.^_`|~aZ09".into()));
}

// COOK-28
#[test]
fn a_path_or_domain_that_would_write_another_attribute_is_refused() {
    for path in [
        "",
        "shop",
        "/a; Domain=evil",
        "/a\r\nX: y",
        "/a b",
        "/a?b",
        "/a#b",
        "/ä",
        "/\u{7f}",
    ] {
        let text = refusal(|settings| settings.path = path.into());
        assert!(text.starts_with("`path` "), "{path:?}: {text}");
    }
    assert!(refusal(|settings| settings.path = "/".repeat(1025)).contains("1024"));
    writer(|settings| settings.path = "/".repeat(1024));

    let too_long = format!("{}com", "abc.".repeat(63));
    for domain in [
        "",
        ".",
        "..a",
        "a..b",
        "a.",
        "-a.b",
        "a-.b",
        "https://a.b",
        "a.b:80",
        "a.b/c",
        "a b",
        "a;b",
        "[::1]",
        "bücher.de",
        &"a".repeat(64),
        &too_long,
    ] {
        let text = refusal(|settings| settings.domain = Some(domain.into()));
        assert!(text.starts_with("`domain` "), "{domain:?}: {text}");
    }
    for domain in [
        "example.com",
        "localhost",
        "127.0.0.1",
        "xn--bcher-kva.de",
        "my_app.test",
        &too_long[2..],
        &"a".repeat(63),
    ] {
        writer(|settings| settings.domain = Some(domain.into()));
    }
}

#[test]
fn a_dot_before_the_domain_means_nothing() {
    let (with, without) = (
        writer(|settings| settings.domain = Some(".example.com".into())),
        writer(|settings| settings.domain = Some("example.com".into())),
    );
    assert_eq!(with.set(&id(), None), without.set(&id(), None));
}

// COOK-17
#[test]
fn a_name_with_a_prefix_keeps_its_promise_or_is_refused() {
    type Breach = fn(&mut CookieSettings);
    let breaches: [(&str, Breach); 4] = [
        ("`secure`", |settings| settings.secure = false),
        ("`http_only`", |settings| settings.http_only = false),
        ("`path`", |settings| settings.path = "/shop".into()),
        ("`domain`", |settings| settings.domain = Some("example.com".into())),
    ];
    for (prefix, promises) in [
        ("__Host-", &["`secure`", "`path`", "`domain`"][..]),
        ("__Secure-", &["`secure`"]),
        ("__Http-", &["`secure`", "`http_only`"]),
        ("__Host-Http-", &["`secure`", "`http_only`", "`path`", "`domain`"]),
        ("__Hosts-", &[]),
    ] {
        for name in [
            prefix.to_owned(),
            format!("{prefix}a"),
            format!("{}a", prefix.to_lowercase()),
        ] {
            writer(|settings| settings.name = Some(name.clone()));
            for (setting, breach) in breaches {
                let settings = settings(|settings| {
                    settings.name = Some(name.clone());
                    breach(settings);
                });
                match settings.check() {
                    Ok(_) => assert!(!promises.contains(&setting), "{name} without {setting}"),
                    Err(error) => {
                        let text = error.to_string();
                        assert!(promises.contains(&setting) && text.contains(setting), "{name}: {text}");
                        assert!(
                            text.starts_with("`cookie`: ") && text.contains(&format!("`{prefix}`")),
                            "{text}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn same_site_none_without_secure_is_refused() {
    let text = refusal(|settings| {
        settings.same_site = SameSite::None;
        settings.secure = false;
    });
    assert!(text.contains("`same_site`") && text.contains("`secure`"), "{text}");
}

// COOK-11
#[test]
fn a_lifetime_is_rounded_up_so_that_no_client_drops_the_cookie_early() {
    let now = unix(1_700_000_000) + Duration::from_millis(900);
    let value = writer(|_| ()).set(&id(), Some((now, now + Duration::from_millis(59_200))));
    let cookie = parse(&value);
    assert_eq!(cookie.max_age(), Some(time::Duration::seconds(60)));
    // 1_700_000_060.1
    assert_eq!(cookie.expires_datetime().unwrap().unix_timestamp(), 1_700_000_061);
}

// COOK-12
#[test]
fn max_age_is_never_negative_and_ends_with_the_year_9999() {
    let now = unix(1_700_000_000);
    let writer = writer(|_| ());
    for past in [
        now,
        now - Duration::from_secs(5),
        UNIX_EPOCH,
        UNIX_EPOCH - Duration::from_secs(5),
    ] {
        let value = writer.set(&id(), Some((now, past)));
        assert_eq!(parse(&value).max_age(), Some(time::Duration::ZERO));
    }
    let value = writer.set(&id(), Some((UNIX_EPOCH, end_of_time() + Duration::from_secs(9))));
    assert_eq!(parse(&value).max_age(), Some(time::Duration::seconds(253_402_300_799)));
    assert!(
        value
            .to_str()
            .unwrap()
            .ends_with("Expires=Fri, 31 Dec 9999 23:59:59 GMT")
    );
}

// COOK-13, COOK-14, COOK-16
#[test]
fn a_removal_has_the_same_name_and_attributes_no_value_and_is_long_expired() {
    let writer = writer(|settings| {
        settings.path = "/shop".into();
        settings.domain = Some("example.com".into());
    });
    let set = writer.set(&id(), None).to_str().unwrap().replace(ID, "");
    let removal = format!("{set}; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT");
    assert_eq!(writer.remove(), removal);
    assert!(removal.starts_with("session=; ") && removal.contains("; Path=/shop; Domain=example.com"));
}

#[test]
fn debug_of_a_set_cookie_does_not_show_the_id() {
    let value = writer(|_| ()).set(&id(), None);
    assert!(!format!("{value:?}").contains(ID));
}

// COOK-18
#[test]
fn the_name_is_the_same_for_reading_and_writing() {
    let writer = writer(|settings| settings.name = Some("__Host-id".into()));
    let value = writer.set(&id(), None);
    let sent = value.to_str().unwrap().split_once(';').unwrap().0;
    assert_eq!(found(&[sent.as_bytes()], writer.name()), [ID]);
}

// COOK-19, COOK-21
#[test]
fn a_name_is_matched_byte_by_byte() {
    let cookies = format!(
        "%5F%5FHost-id={0}; __Host-idINVALID={0}; x__Host-id={0}; __host-id={0}; __Host-id ={0}; __Host-i={0}",
        of('a')
    );
    assert!(found(&[cookies.as_bytes()], "__Host-id").is_empty());
}

// COOK-22, COOK-29
#[test]
fn what_is_not_an_id_is_skipped_and_a_later_id_still_found() {
    let cookies = format!(
        "session=; session; session=={0}; session=\"{0}\"; session={0}a; session= {0}; \
         session={1}; session={2}; session={3}",
        of('a'),
        &of('a')[1..],
        "a".repeat(100_000),
        of('b'),
    );
    assert_eq!(found(&[cookies.as_bytes()], "session"), [of('b')]);
}

// COOK-23, COOK-24
#[test]
fn ids_are_found_anywhere_in_several_headers_in_their_order() {
    let (one, two, three) = (of('1'), of('2'), of('3'));
    let first = format!("a=b; session={one}; \u{ff}=x;;session={two}\t ");
    let second = format!("session={three}");
    assert_eq!(
        found(&[first.as_bytes(), b"", second.as_bytes()], "session"),
        [one, two, three]
    );
}

/// Bits of cookies, well-formed and not, in any order.
fn cookie_header() -> impl Strategy<Value = Vec<u8>> {
    let bit = prop_oneof![
        4 => Just(b"session=".to_vec()),
        4 => "[A-Za-z0-9_-]{40}".prop_map(String::into_bytes),
        4 => Just(b"; ".to_vec()),
        1 => prop::sample::select(vec![&b";"[..], b"=", b" ", b"\t", b"\"", b"session", b"%73ession=", b"SESSION="])
            .prop_map(<[u8]>::to_vec),
        1 => "[A-Za-z0-9_-]{38,42}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop::collection::vec(bit, 0..16).prop_map(|bits| bits.concat())
}

/// The ids in a header, the slow and obvious way.
fn model(header: &[u8]) -> Vec<String> {
    let text: String = header.iter().map(|&byte| char::from(byte)).collect();
    text.split(';')
        .filter_map(|pair| pair.trim_matches([' ', '\t']).split_once('='))
        .filter(|(name, _)| *name == "session")
        .filter(|(_, value)| {
            value.len() == 40 && value.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
        })
        .map(|(_, value)| value.to_owned())
        .collect()
}

proptest! {
    #[test]
    fn exactly_the_well_formed_pairs_are_found_in_any_header(
        headers in prop::collection::vec(
            prop_oneof![cookie_header(), prop::collection::vec(any::<u8>(), 0..200)],
            0..4,
        ),
    ) {
        let headers: Vec<_> = headers.iter().filter_map(|header| HeaderValue::from_bytes(header).ok()).collect();
        let expected: Vec<_> = headers.iter().flat_map(|header| model(header.as_bytes())).collect();
        let found: Vec<_> = candidates(headers.iter(), "session").map(|id| id.as_str().to_owned()).collect();
        prop_assert_eq!(found, expected);
    }

    /// Neither way of saying it ends before the session does, or more than a second after, and the two agree.
    #[test]
    fn a_client_keeps_the_cookie_as_long_as_the_server_keeps_the_session(
        now in 0..253_402_300_799_u64,
        nanos in 0..1_000_000_000_u32,
        lifetime in (0..1_000_000_000_u64, 0..1_000_000_000_u32),
    ) {
        let now = UNIX_EPOCH + Duration::new(now, nanos);
        let expires_at = crate::clock::after(now, Duration::new(lifetime.0, lifetime.1));
        let value = writer(|_| ()).set(&id(), Some((now, expires_at)));
        let cookie = parse(&value);
        prop_assert_eq!(cookie.value(), ID);

        let max_age = Duration::try_from(cookie.max_age().unwrap()).unwrap();
        let left = expires_at.duration_since(now).unwrap_or_default();
        prop_assert!(left <= max_age && max_age < left + Duration::from_secs(1));

        let expires = SystemTime::from(cookie.expires_datetime().unwrap());
        prop_assert!(expires_at <= expires && expires < expires_at + Duration::from_secs(1));
    }

    /// What passes the check is a header, and a client reads the settings in it.
    #[test]
    fn whatever_settings_are_accepted_are_what_a_client_reads(
        name in prop::option::of("(__Host-|__secure-)?[ -~]{1,3}"),
        path in "/[ -~é]{0,3}",
        domain in prop::option::of("\\.?[a-c:;. -]{1,4}"),
        flags in any::<(bool, bool, bool)>(),
        same_site in prop::sample::select(vec![SameSite::Strict, SameSite::Lax, SameSite::None]),
    ) {
        let settings = CookieSettings {
            name, path, domain, secure: flags.0, http_only: flags.1, same_site, partitioned: flags.2,
        };
        if let Ok(writer) = settings.check() {
            let value = writer.set(&id(), None);
            let cookie = parse(&value);
            prop_assert_eq!(cookie.name_value(), (settings.name(), ID));
            prop_assert_eq!(cookie.path(), Some(settings.path.as_str()));
            prop_assert_eq!(cookie.domain(), settings.domain.as_deref().map(|domain| domain.trim_start_matches('.')));
            prop_assert_eq!(cookie.secure().unwrap_or(false), settings.secure);
            prop_assert_eq!(cookie.http_only().unwrap_or(false), settings.http_only);
            prop_assert_eq!(cookie.same_site(), Some(same_site.into()));
            prop_assert_eq!(cookie.partitioned().unwrap_or(false), settings.partitioned);
        }
    }
}
