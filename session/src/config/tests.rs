use std::cell::RefCell;
use std::collections::BTreeSet;

use super::*;

/// 32 bytes.
const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

fn from(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::from_lookup(|name| {
        let (_, value) = variables.iter().find(|(variable, _)| *variable == name)?;
        Some(value.into())
    })
}

fn refusal(change: impl FnOnce(&mut Config)) -> String {
    let mut config = Config::default();
    change(&mut config);
    match config.settings() {
        Err(error) => error.to_string(),
        Ok(settings) => settings.check().unwrap_err().to_string(),
    }
}

fn accepted(change: impl FnOnce(&mut Config)) -> Settings {
    let mut config = Config::default();
    change(&mut config);
    let settings = config.settings().unwrap();
    settings.check().unwrap();
    settings
}

/// Every field, so that a new one does not compile until it is tested.
fn assert_all_changed(config: Config) {
    let Config {
        driver,
        lifetime,
        expire_on_close,
        files,
        gc_interval,
        cookie,
        path,
        domain,
        secure,
        http_only,
        same_site,
        partitioned,
        url,
        absolute_lifetime,
        raw_ids,
        namespace,
        key,
    } = config;
    assert_eq!((driver.as_str(), lifetime, expire_on_close), ("redis", 30, true));
    assert_eq!((files, gc_interval), (PathBuf::from("/var/sessions"), -1));
    assert_eq!(
        (cookie.as_str(), path.as_str(), domain.as_deref()),
        ("id", "/shop", Some("example.com"))
    );
    assert_eq!((secure, http_only, same_site.as_str()), (false, false, "Strict"));
    assert_eq!((url.as_deref(), absolute_lifetime), (Some("redis://h/"), Some(600)));
    assert_eq!((raw_ids, key.as_deref()), (true, Some(KEY)));
    assert_eq!((partitioned, namespace.as_deref()), (true, Some("shop")));
}

const CHANGED: [(&str, &str); 17] = [
    ("SESSION_DRIVER", "redis"),
    ("SESSION_LIFETIME", "30"),
    ("SESSION_EXPIRE_ON_CLOSE", "true"),
    ("SESSION_FILES", "/var/sessions"),
    ("SESSION_GC_INTERVAL", "-1"),
    ("SESSION_COOKIE", "id"),
    ("SESSION_PATH", "/shop"),
    ("SESSION_DOMAIN", "example.com"),
    ("SESSION_SECURE", "off"),
    ("SESSION_HTTP_ONLY", "0"),
    ("SESSION_SAME_SITE", "Strict"),
    ("SESSION_URL", "redis://h/"),
    ("SESSION_ABSOLUTE_LIFETIME", "600"),
    ("SESSION_RAW_IDS", "YES"),
    ("SESSION_KEY", KEY),
    ("SESSION_PARTITIONED", "on"),
    ("SESSION_NAMESPACE", "shop"),
];

#[test]
fn every_setting_is_read_from_the_environment() {
    assert_all_changed(from(&CHANGED).unwrap());
}

#[test]
fn every_setting_is_read_by_serde() {
    let json = format!(
        r#"{{ "driver": "redis", "lifetime": 30, "expire_on_close": true, "files": "/var/sessions", "gc_interval": -1,
             "cookie": "id", "path": "/shop", "domain": "example.com", "secure": false, "http_only": false,
             "same_site": "Strict", "url": "redis://h/", "absolute_lifetime": 600, "raw_ids": true, "key": "{KEY}",
             "partitioned": true, "namespace": "shop" }}"#
    );
    assert_all_changed(serde_json::from_str(&json).unwrap());
}

/// The fields are those that serde lists when it meets an unknown one.
#[test]
fn the_variables_are_session_and_the_name_of_each_field_and_no_others() {
    let error = serde_json::from_str::<Config>(r#"{ "?": 1 }"#).unwrap_err().to_string();
    let fields: BTreeSet<_> = error
        .split('`')
        .skip(3)
        .step_by(2)
        .map(|field| format!("SESSION_{}", field.to_uppercase()))
        .collect();

    let asked = RefCell::new(BTreeSet::new());
    Config::from_lookup(|name| {
        asked.borrow_mut().insert(name.to_owned());
        None
    })
    .unwrap();
    assert_eq!(asked.into_inner(), fields);
    assert_eq!(fields.len(), CHANGED.len());
}

/// config/session.go of Goravel, but for the driver's lottery; `secure` is false there, and the cookie is `<application>_session`.
#[test]
fn goravels_names_and_defaults_are_the_defaults_here_but_for_secure_and_cookie() {
    let goravel = r#"{ "driver": "file", "lifetime": 120, "expire_on_close": false,
        "files": "storage/framework/sessions", "gc_interval": 30, "cookie": "", "path": "/", "domain": "",
        "secure": true, "http_only": true, "same_site": "lax" }"#;
    let goravel: Config = serde_json::from_str(goravel).unwrap();
    let nothing: Config = serde_json::from_str("{}").unwrap();
    let default = format!("{:?}", Config::default());
    assert_eq!(format!("{goravel:?}"), default);
    assert_eq!(format!("{nothing:?}"), default);
    assert_eq!(format!("{:?}", from(&[]).unwrap()), default);
}

#[test]
fn the_default_config_means_the_default_settings() {
    assert_eq!(format!("{:?}", accepted(|_| ())), format!("{:?}", Settings::default()));
}

#[test]
fn empty_texts_mean_none_and_empty_variables_are_not_set() {
    let empty: Config = serde_json::from_str(r#"{ "domain": "", "url": "", "key": "" }"#).unwrap();
    assert_eq!((empty.domain, empty.url, empty.key), (None, None, None));
    let null: Config = serde_json::from_str(r#"{ "domain": null, "url": null, "key": null }"#).unwrap();
    assert_eq!((null.domain, null.url, null.key), (None, None, None));

    let unset = CHANGED.map(|(name, _)| (name, ""));
    assert_eq!(
        format!("{:?}", from(&unset).unwrap()),
        format!("{:?}", Config::default())
    );

    let settings = accepted(|config| (config.domain, config.key) = (Some(String::new()), Some(String::new())));
    assert_eq!(settings.cookie.domain, None);
}

#[test]
fn a_malformed_variable_is_named_with_what_to_write_and_its_value_is_not_repeated() {
    for (name, value, hint) in [
        ("SESSION_LIFETIME", "2h", "minutes"),
        ("SESSION_LIFETIME", "-1", "minutes"),
        ("SESSION_GC_INTERVAL", "never", "0 to turn it off"),
        ("SESSION_ABSOLUTE_LIFETIME", "1.5", "minutes"),
        ("SESSION_EXPIRE_ON_CLOSE", "maybe", "`true` or `false`"),
        ("SESSION_SECURE", "2", "`true` or `false`"),
        ("SESSION_HTTP_ONLY", "t", "`true` or `false`"),
        ("SESSION_RAW_IDS", "-", "`true` or `false`"),
        ("SESSION_SAME_SITE", "default", "`strict`, `lax` or `none`"),
    ] {
        let error = from(&[(name, value)]).unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with(&format!("`{name}` is malformed: write ")) && text.contains(hint),
            "{text}"
        );
        assert!(!format!("{error:?}").contains(&format!("\"{value}\"")), "{error:?}");
    }
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_utf_8_is_named_unless_it_is_a_path() {
    use std::os::unix::ffi::OsStringExt;
    for (name, _) in CHANGED {
        let latin1 = || OsString::from_vec(b"caf\xe9".to_vec());
        let config = Config::from_lookup(|asked| (asked == name).then(latin1));
        match name {
            "SESSION_FILES" => assert_eq!(config.unwrap().files, PathBuf::from(latin1())),
            _ => assert_eq!(config.unwrap_err().to_string(), format!("`{name}` is not UTF-8")),
        }
    }
}

#[test]
fn words_and_numbers_may_have_spaces_around_them_and_any_case() {
    let config = from(&[
        ("SESSION_LIFETIME", " 5\n"),
        ("SESSION_SECURE", "False "),
        ("SESSION_SAME_SITE", "LAX"),
    ])
    .unwrap();
    assert_eq!((config.lifetime, config.secure), (5, false));
    assert_eq!(config.settings().unwrap().cookie.same_site, SameSite::Lax);
}

#[test]
fn settings_are_the_config_in_units_of_their_own() {
    let settings = accepted(|config| {
        config.lifetime = 30;
        config.absolute_lifetime = Some(600);
        config.expire_on_close = true;
        config.gc_interval = 5;
        config.raw_ids = true;
        config.cookie = "id".into();
        config.path = "/shop".into();
        config.domain = Some("example.com".into());
        config.http_only = false;
        config.same_site = "None".into();
    });
    assert_eq!(settings.lifetime, Duration::from_secs(30 * 60));
    assert_eq!(settings.absolute_lifetime, Some(Duration::from_secs(600 * 60)));
    assert_eq!(settings.gc_interval, Some(Duration::from_secs(5 * 60)));
    assert!(settings.expire_on_close && settings.raw_ids);
    let cookie = settings.cookie;
    assert_eq!(
        (cookie.name(), cookie.path.as_str(), cookie.domain.as_deref()),
        ("id", "/shop", Some("example.com"))
    );
    assert_eq!(
        (cookie.secure, cookie.http_only, cookie.same_site),
        (true, false, SameSite::None)
    );

    assert!(
        !accepted(|config| (config.secure, config.same_site) = (false, "strict".into()))
            .cookie
            .secure
    );
}

#[test]
fn a_session_does_not_live_for_ever_unless_that_is_said() {
    let limit = |config: Config| config.settings().unwrap().absolute_lifetime;
    assert_eq!(limit(Config::default()), Some(Duration::from_secs(30 * 24 * 60 * 60)));
    assert_eq!(
        limit(from(&[("SESSION_ABSOLUTE_LIFETIME", "")]).unwrap()),
        limit(Config::default())
    );
    for unlimited in ["0", "null"] {
        let json = format!(r#"{{ "absolute_lifetime": {unlimited} }}"#);
        assert_eq!(limit(serde_json::from_str(&json).unwrap()), None, "{unlimited}");
    }
    assert_eq!(limit(from(&[("SESSION_ABSOLUTE_LIFETIME", "0")]).unwrap()), None);
}

#[test]
fn a_namespace_that_cannot_be_kept_is_an_error() {
    let text = refusal(|config| (config.namespace, config.raw_ids) = (Some("shop".into()), true));
    assert!(text.starts_with("`namespace` ") && text.contains("`raw_ids`"), "{text}");
    let text = refusal(|config| config.namespace = Some("a\u{1f}b".into()));
    assert!(text.starts_with("`namespace` ") && text.contains("U+001F"), "{text}");
}

#[test]
fn sessions_of_cookies_with_other_names_are_not_in_one_namespace() {
    let namespace = |change: fn(&mut Config)| accepted(change).namespace();
    assert_eq!(namespace(|_| ()), Namespace::Nameless);
    assert_eq!(namespace(|config| config.secure = false), Namespace::Nameless);
    assert_eq!(
        namespace(|config| config.cookie = "session".into()),
        Namespace::Nameless
    );
    assert_eq!(
        namespace(|config| config.cookie = "shop".into()),
        Namespace::Named("shop".into())
    );
    let named: fn(&mut Config) = |config| (config.cookie, config.namespace) = ("a".into(), Some("shop".into()));
    assert_eq!(namespace(named), Namespace::Named("shop".into()));
    let nameless: fn(&mut Config) = |config| (config.cookie, config.namespace) = ("a".into(), Some(String::new()));
    assert_eq!(namespace(nameless), Namespace::Nameless);
    assert_eq!(
        namespace(|config| (config.cookie, config.raw_ids) = ("a".into(), true)),
        Namespace::Raw
    );
}

#[test]
fn garbage_collection_is_off_at_zero_or_less() {
    for interval in [0, -1, i64::MIN] {
        assert_eq!(accepted(|config| config.gc_interval = interval).gc_interval, None);
    }
}

#[test]
fn the_longest_lifetimes_do_not_overflow() {
    let settings = accepted(|config| (config.lifetime, config.absolute_lifetime) = (u64::MAX, Some(u64::MAX)));
    assert_eq!(settings.lifetime, Duration::from_secs(u64::MAX));
}

#[test]
fn a_setting_that_makes_no_sense_is_named() {
    assert!(refusal(|config| config.lifetime = 0).starts_with("`lifetime` is 0"));
    assert!(refusal(|config| config.same_site = "default".into()).starts_with("`same_site` is malformed"));
    assert!(refusal(|config| config.same_site = String::new()).starts_with("`same_site` is malformed"));
    assert!(refusal(|config| config.cookie = "a b".into()).starts_with("`cookie` "));
    assert!(refusal(|config| config.path = "shop".into()).starts_with("`path` "));
    assert!(refusal(|config| config.domain = Some("http://a".into())).starts_with("`domain` "));
    let text = refusal(|config| config.files = PathBuf::new());
    assert!(
        text.starts_with("`files` is empty") && text.contains("write a directory"),
        "{text}"
    );
    assert_eq!(
        refusal(|config| *config = serde_json::from_str(r#"{ "files": "" }"#).unwrap()),
        text
    );
    // In the environment it is not set.
    assert!(from(&[("SESSION_FILES", "")]).unwrap().settings().is_ok());

    for (settings, name) in [
        (
            Settings {
                store_timeout: Duration::ZERO,
                ..Settings::default()
            },
            "`store_timeout`",
        ),
        (
            Settings {
                max_bytes: 0,
                ..Settings::default()
            },
            "`max_bytes`",
        ),
        (
            Settings {
                gc_interval: Some(Duration::ZERO),
                ..Settings::default()
            },
            "`gc_interval`",
        ),
    ] {
        let text = settings.check().unwrap_err().to_string();
        assert!(text.starts_with(name), "{text}");
    }
}

#[test]
fn a_key_that_would_be_ignored_is_an_error() {
    let two = format!("{KEY}, {KEY}");
    for key in [KEY, KEY.trim_end_matches('='), &"+/".repeat(22), &"-_".repeat(22), &two] {
        assert!(
            refusal(|config| config.key = Some(key.into())).contains("not part of this build"),
            "{key}"
        );
    }
}

#[test]
fn a_malformed_key_is_an_error_that_does_not_show_it() {
    let short = &KEY[..40];
    for key in [
        short,
        "?",
        ",",
        &format!("{KEY},"),
        &format!("{KEY},{short}"),
        &format!("{KEY}{KEY}"),
    ] {
        let text = refusal(|config| config.key = Some(key.into()));
        assert!(
            text.starts_with("`key` is malformed") && !text.contains(&KEY[..8]),
            "{key}: {text}"
        );
    }
}

#[test]
fn debug_shows_neither_key_nor_address() {
    let shown = format!(
        "{:?}",
        from(&[
            ("SESSION_KEY", KEY),
            ("SESSION_URL", "redis://u:hunter2@h/?password=hunter2")
        ])
        .unwrap()
    );
    assert!(!shown.contains(KEY) && !shown.contains("hunter2"), "{shown}");
    assert!(
        shown.contains("key: Some(..)") && shown.contains("lifetime: 120"),
        "{shown}"
    );
}
