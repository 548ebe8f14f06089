//! Whatever comes as a cookie, no file outside the directory is reached.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use session_schema::{Config, FileDriver, SessionLayer};
use session_tests::App;
use tokio::runtime::{Builder, Runtime};

/// The length of an id.
const ID_LEN: usize = 40;

/// A tree with sessions of somebody else everywhere but in the driver's directory, which lies deep in it.
struct Tree {
    root: tempfile::TempDir,
    /// Cookies each of which would be the path of one of those sessions, if any cookie could be a path.
    paths: Vec<String>,
}

impl Tree {
    /// The directory of the driver.
    fn sessions(&self) -> PathBuf {
        self.root.path().join("1/2/3/4/sessions")
    }

    /// Plants `session` above the directory, beside it and in folders beside it.
    fn with(session: &[u8]) -> Self {
        let root = tempfile::tempdir().expect("a directory is made");
        let absolute = format!("{}/", root.path().display());
        let mut prefixes = vec![absolute, "/".into(), "//".into(), "./".into(), "sessions/".into()];
        for up in 1..=6 {
            prefixes.extend(["", "beside/", "sessions/../"].map(|to| "../".repeat(up) + to));
        }
        let paths: Vec<_> = prefixes
            .iter()
            .map(|prefix| prefix.clone() + &"p".repeat(ID_LEN.saturating_sub(prefix.len())))
            .collect();
        let names: BTreeSet<_> = paths.iter().filter_map(|path| path.rsplit('/').next()).collect();

        let folders = ["", "1", "1/2", "1/2/3", "1/2/3/4"].map(|above| root.path().join(above));
        for folder in folders.iter().flat_map(|above| [above.clone(), above.join("beside")]) {
            fs::create_dir_all(&folder).expect("a folder is made");
            for name in names.iter().filter(|name| !name.is_empty()) {
                fs::write(folder.join(name), session).expect("a file is written");
                fs::write(folder.join(format!("{name}.session")), session).expect("a file is written");
            }
        }
        let tree = Self { root, paths };
        fs::create_dir_all(tree.sessions()).expect("a folder is made");
        tree
    }

    /// Everything outside of the driver's directory.
    fn outside(&self) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        let mut found = all_in(self.root.path());
        found.retain(|path, _| !path.starts_with(self.sessions()));
        found
    }

    /// Every file in the driver's directory.
    fn inside(&self) -> Vec<PathBuf> {
        let found = all_in(&self.sessions()).into_iter();
        found.filter_map(|(path, content)| content.map(|_| path)).collect()
    }
}

/// Files with what stands in them, and folders.
fn all_in(root: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("the folder is read") {
            let path = entry.expect("the folder is read").path();
            let content = match path.is_dir() {
                true => {
                    folders.push(path.clone());
                    None
                }
                false => Some(fs::read(&path).expect("the file is read")),
            };
            found.insert(path, content);
        }
    }
    found
}

fn app(directory: &Path, raw_ids: bool) -> App {
    let mut config = Config::default();
    config.raw_ids = raw_ids;
    let layer = SessionLayer::new(FileDriver::new(directory));
    App::new(layer.with_config(&config).expect("the settings are good"))
}

/// The file of a session of the real driver.
fn a_session(runtime: &Runtime) -> Vec<u8> {
    let directory = tempfile::tempdir().expect("a directory is made");
    let browser = app(directory.path(), true).browser();
    runtime.block_on(async {
        browser
            .visit(|session| session.put("planted", 1).unwrap())
            .await
            .value();
        assert!(browser.visit(|session| session.has("planted")).await.value());
    });
    let files: Vec<_> = all_in(directory.path()).into_values().flatten().collect();
    assert_eq!(files.len(), 1);
    files.concat()
}

/// A `Cookie` header.
#[derive(Clone)]
struct Header(Vec<u8>);

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

/// `Cookie` headers, of which most have the name of the session's cookie and something like a path.
fn headers(paths: Vec<String>) -> impl Strategy<Value = Vec<Header>> {
    let path = prop::sample::select(paths);
    let byte = prop_oneof![9..10_u8, 32..127_u8, 128..=255_u8];
    let value = prop_oneof![
        4 => path.clone().prop_map(String::into_bytes),
        2 => path.clone().prop_map(|path| path.replace('/', "%2F").into_bytes()),
        1 => path.clone().prop_map(|path| path.replace('/', "%2f").replace('.', "%2E").into_bytes()),
        1 => path.clone().prop_map(|path| path.replace('/', "%252F").into_bytes()),
        1 => path.clone().prop_map(|path| path.replace('/', "\\").into_bytes()),
        1 => path.prop_map(|path| (path + ".session").into_bytes()),
        1 => Just(vec![b'/'; ID_LEN]),
        1 => Just(vec![b'.'; ID_LEN]),
        1 => Just(vec![b'a'; 8 * 1024]),
        1 => Just("../".repeat(8 * 1024 / 3).into_bytes()),
        2 => "[A-Za-z0-9_-]{39,41}".prop_map(String::into_bytes),
        2 => "[./a-]{40}".prop_map(String::into_bytes),
        2 => prop::collection::vec(byte.clone(), 0..50),
        1 => prop::collection::vec(byte, ID_LEN),
    ];
    let name = prop_oneof![8 => Just("__Host-session="), 1 => Just("__Host-session=\""), 1 => Just("%5F_Host-session="), 1 => Just("")];
    let pair = (name, value).prop_map(|(name, value)| [name.as_bytes(), &value].concat());
    let header =
        prop::collection::vec(pair, 1..4).prop_map(|pairs| Header(pairs.join(&b"; "[..]).trim_ascii().to_owned()));
    prop::collection::vec(header, 1..4)
}

/// One visitor with these headers, who reads, begins a session, uses it, and ends what the headers may name.
async fn visit(app: &App, tree: &Tree, raw_ids: bool, headers: &[Header]) -> Result<(), TestCaseError> {
    let headers: Vec<_> = headers.iter().map(|Header(header)| &header[..]).collect();
    let visit = app.visit_with_cookies(&headers, |session| session.all()).await;
    prop_assert!(visit.cookies().is_empty(), "nothing was changed");
    prop_assert_eq!(visit.value(), serde_json::Map::new());
    prop_assert_eq!(tree.inside(), Vec::<PathBuf>::new());

    let visit = app
        .visit_with_cookies(&headers, |session| session.put("own", 1).unwrap())
        .await;
    let id = visit.cookie().expect("a session begins").value().to_owned();
    visit.value();
    prop_assert!(
        !headers
            .iter()
            .any(|header| header.windows(ID_LEN).any(|part| part == id.as_bytes()))
    );
    let inside = tree.inside();
    prop_assert_eq!(inside.len(), 1, "{:?}", inside);
    let lower = format!("{}.session", id.to_ascii_lowercase());
    let is_ids = inside[0]
        .to_str()
        .is_some_and(|path| path.replace('=', "").ends_with(&lower));
    prop_assert_eq!(is_ids, raw_ids, "with raw ids the cookie is the name of the file");

    // What has no session ends with no trace, and the own one with all of its.
    let visit = app
        .visit_with_cookies(&headers, |session| session.invalidate().unwrap())
        .await;
    visit.value();
    prop_assert_eq!(tree.inside(), inside);
    let own = format!("__Host-session={id}");
    let own = [own.as_bytes()];
    let visit = app.visit_with_cookies(&own, |session| session.pull::<u8>("own").unwrap());
    prop_assert_eq!(visit.await.value(), Some(1));
    let visit = app.visit_with_cookies(&own, |session| session.invalidate().unwrap());
    visit.await.value();
    prop_assert_eq!(tree.inside(), Vec::<PathBuf>::new());
    Ok(())
}

#[test]
fn no_cookie_whatever_reaches_a_file_outside() {
    // STORE-22, ID-03, ID-06, ERR-13
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let tree = Tree::with(&a_session(&runtime));
    let before = tree.outside();
    assert!(before.len() > 100, "only {} files are planted", before.len());
    let apps = [false, true].map(|raw_ids| (app(&tree.sessions(), raw_ids), raw_ids));

    let config = ProptestConfig {
        cases: 256,
        // The cases share one tree, in which a failure leaves its traces: smaller headers would fail for those.
        max_shrink_iters: 0,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let strategy = headers(tree.paths.clone());
    let outcome = TestRunner::new(config).run(&strategy, |headers| {
        for (app, raw_ids) in &apps {
            runtime.block_on(visit(app, &tree, *raw_ids, &headers))?;
        }
        prop_assert!(tree.outside() == before, "a file outside was made, changed or removed");
        Ok(())
    });
    // The headers, to be tried again.
    outcome.unwrap_or_else(|failed| panic!("{failed}"));
}
