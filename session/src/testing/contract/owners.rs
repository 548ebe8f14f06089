//! Whose sessions there are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::driver::{Expected, Written};
use crate::id::StoreKey;
use crate::record::Record;
use crate::testing::harness::{Harness, assert_same, key};

async fn sessions_of(harness: &Harness, owner: &str) -> BTreeMap<StoreKey, Record> {
    let sessions = harness
        .owners()
        .sessions_of(owner)
        .await
        .expect("the owner's sessions are found");
    let count = sessions.len();
    let sessions = BTreeMap::from_iter(sessions);
    assert_eq!(sessions.len(), count, "a session is listed twice");
    sessions
}

async fn destroy_sessions_of(harness: &Harness, owner: &str, except: Option<&StoreKey>) -> u64 {
    let destroyed = harness.owners().destroy_sessions_of(owner, except).await;
    destroyed.expect("the owner's sessions are destroyed")
}

/// `owners: false` was said of this driver.
pub async fn a_driver_without_an_index_of_owners_has_none(harness: Arc<Harness>) {
    assert!(
        harness.driver().owners().is_none(),
        "the driver has an index of owners: say `owners: true;`"
    );
}

/// `owners: true` was said of this driver, and somebody who has no sessions has none.
pub async fn who_has_no_sessions_has_none(harness: Arc<Harness>) {
    harness.create(&key(), &harness.record("nobody's")).await;
    assert!(sessions_of(&harness, "ann").await.is_empty());
    assert!(sessions_of(&harness, "").await.is_empty());
    assert_eq!(destroy_sessions_of(&harness, "ann", None).await, 0);
}

/// "The live sessions whose record names `owner`", as `read` gives them.
pub async fn an_owner_has_the_sessions_that_name_it(harness: Arc<Harness>) {
    let (anns, bobs) = ([key(), key(), key()], key());
    for key in &anns {
        harness
            .create(key, &harness.record(key.as_str()).with_owner("ann"))
            .await;
    }
    harness.create(&bobs, &harness.record("bob's").with_owner("bob")).await;
    harness.create(&key(), &harness.record("nobody's")).await;

    let sessions = sessions_of(&harness, "ann").await;
    assert_eq!(sessions.len(), 3);
    for key in &anns {
        let read = harness.read(key).await.expect("there is a record");
        assert_same(sessions.get(key), &read);
        assert_eq!(sessions.get(key).map(Record::version), Some(read.version()));
    }
    assert!(sessions_of(&harness, "bob").await.contains_key(&bobs));
}

/// "Compared byte by byte."
pub async fn owners_are_compared_byte_by_byte(harness: Arc<Harness>) {
    let long = "o".repeat(200);
    let owners = [
        "",
        "a",
        "A",
        "a ",
        " a",
        "a\t",
        "a\n",
        "\u{e4}",
        "a\u{308}",
        "\u{c4}",
        "ss",
        "\u{df}",
        "%",
        "_",
        "*",
        "?",
        "[a]",
        "{a}",
        "a:b",
        "a/b",
        "\\",
        "'",
        "\"",
        "`",
        "''; --",
        "$1",
        "null",
        "\u{1f600}",
        "\u{feff}",
        &long,
        &long[1..],
    ];
    let mut keys = Vec::new();
    for owner in owners {
        let key = key();
        harness.create(&key, &harness.record("owned").with_owner(owner)).await;
        assert_eq!(
            harness.read(&key).await.expect("there is a record").owner(),
            Some(owner)
        );
        keys.push(key);
    }
    for (owner, key) in owners.iter().zip(&keys) {
        let sessions = sessions_of(&harness, owner).await;
        assert!(
            sessions.len() == 1 && sessions.contains_key(key),
            "other sessions than its own for {owner:?}"
        );
    }
    for owner in owners {
        assert_eq!(
            destroy_sessions_of(&harness, owner, None).await,
            1,
            "sessions destroyed of {owner:?}"
        );
    }
}

/// An owner with a NUL, which some databases have no text for, is kept as it is or refused, but never cut off.
pub async fn an_owner_with_a_nul_is_kept_or_refused(harness: Arc<Harness>) {
    let (key, record) = (key(), harness.record("odd").with_owner("ann\0bob"));
    match harness.driver().write(&key, &record, Expected::Absent).await {
        Ok(_) => assert_same(harness.read(&key).await.as_ref(), &record),
        Err(_) => assert!(harness.read(&key).await.is_none()),
    }
    assert!(sessions_of(&harness, "ann").await.is_empty());
}

/// "Whose a session is changes with every write that names another owner."
pub async fn a_session_changes_hands_with_a_write(harness: Arc<Harness>) {
    let key = key();
    let version = harness.create(&key, &harness.record("ann's").with_owner("ann")).await;
    let version = harness
        .replace(&key, &harness.record("bob's").with_owner("bob"), version)
        .await;
    assert!(sessions_of(&harness, "ann").await.is_empty());
    assert_eq!(destroy_sessions_of(&harness, "ann", None).await, 0);
    assert!(sessions_of(&harness, "bob").await.contains_key(&key));

    let version = harness.replace(&key, &harness.record("nobody's"), version).await;
    assert!(sessions_of(&harness, "bob").await.is_empty());
    assert_eq!(destroy_sessions_of(&harness, "bob", None).await, 0);

    harness
        .replace(&key, &harness.record("ann's").with_owner("ann"), version)
        .await;
    assert_eq!(sessions_of(&harness, "ann").await.len(), 1);
}

/// A write that conflicts changes no owner.
pub async fn a_write_that_conflicts_changes_no_owner(harness: Arc<Harness>) {
    let key = key();
    let version = harness.create(&key, &harness.record("ann's").with_owner("ann")).await;
    harness
        .replace(&key, &harness.record("ann's still").with_owner("ann"), version)
        .await;
    for expected in [Expected::Absent, Expected::Version(version)] {
        let written = harness
            .write(&key, &harness.record("bob's").with_owner("bob"), expected)
            .await;
        assert!(
            matches!(written, Written::Conflict(_)),
            "expected `Written::Conflict`, got {written:?}"
        );
    }
    assert!(sessions_of(&harness, "bob").await.is_empty());
    assert!(sessions_of(&harness, "ann").await.contains_key(&key));
}

/// "An expired session is nobody's."
pub async fn an_expired_session_is_nobodys(harness: Arc<Harness>) {
    let [short, long] = [key(), key()];
    let expiry = harness.soon();
    harness
        .create(
            &short,
            &harness.record("short").with_owner("ann").with_expires_at(expiry),
        )
        .await;
    harness.create(&long, &harness.record("long").with_owner("ann")).await;
    assert_eq!(sessions_of(&harness, "ann").await.len(), 2);
    harness.pass(expiry).await;
    let sessions = sessions_of(&harness, "ann").await;
    assert!(sessions.len() == 1 && sessions.contains_key(&long));
    assert_eq!(destroy_sessions_of(&harness, "ann", None).await, 1);
}

/// The index does not end before a session that was touched.
pub async fn a_touched_session_stays_its_owners(harness: Arc<Harness>) {
    let (key, expiry) = (key(), harness.soon());
    harness
        .create(
            &key,
            &harness.record("touched").with_owner("ann").with_expires_at(expiry),
        )
        .await;
    let later = harness.late();
    assert!(harness.touch(&key, later).await);
    harness.pass(expiry).await;
    harness.collect(0).await;
    let sessions = sessions_of(&harness, "ann").await;
    assert_same(
        sessions.get(&key),
        &harness.record("touched").with_owner("ann").with_expires_at(later),
    );
    assert_eq!(destroy_sessions_of(&harness, "ann", None).await, 1);
    assert!(harness.read(&key).await.is_none());
}

/// "A destroyed session is nobody's", nor is it when somebody else's is made under its key.
pub async fn a_destroyed_session_is_nobodys(harness: Arc<Harness>) {
    let key = key();
    harness.create(&key, &harness.record("ann's").with_owner("ann")).await;
    assert!(harness.destroy(&key).await);
    assert!(sessions_of(&harness, "ann").await.is_empty());
    assert_eq!(destroy_sessions_of(&harness, "ann", None).await, 0);
    harness.create(&key, &harness.record("bob's").with_owner("bob")).await;
    assert_eq!(destroy_sessions_of(&harness, "ann", None).await, 0);
    assert!(harness.read(&key).await.is_some());
}

/// The same when it had expired before.
pub async fn a_session_made_after_one_that_expired_is_not_its_owners(harness: Arc<Harness>) {
    let (key, past) = (key(), harness.now() - Duration::from_millis(10));
    harness.create(&key, &harness.record("ann's").with_owner("ann")).await;
    assert!(harness.touch(&key, past).await);
    assert!(sessions_of(&harness, "ann").await.is_empty());
    harness.create(&key, &harness.record("bob's").with_owner("bob")).await;
    assert!(sessions_of(&harness, "ann").await.is_empty());
    assert_eq!(destroy_sessions_of(&harness, "ann", None).await, 0);
    assert!(sessions_of(&harness, "bob").await.contains_key(&key));
}

/// "Destroys the live sessions of `owner`, all but the one under `except`, and says how many. Those of others stay."
pub async fn logging_out_everywhere_else_spares_this_session_and_those_of_others(harness: Arc<Harness>) {
    let (this, others, bobs, nobodys) = (key(), [key(), key(), key()], key(), key());
    harness.create(&this, &harness.record("this").with_owner("ann")).await;
    let mut versions = Vec::new();
    for key in &others {
        versions.push(harness.create(key, &harness.record("other").with_owner("ann")).await);
    }
    harness.create(&bobs, &harness.record("bob's").with_owner("bob")).await;
    harness.create(&nobodys, &harness.record("nobody's")).await;

    assert_eq!(destroy_sessions_of(&harness, "ann", Some(&this)).await, 3);
    for (key, version) in others.iter().zip(versions) {
        assert!(harness.read(key).await.is_none());
        let written = harness
            .write(
                key,
                &harness.record("late").with_owner("ann"),
                Expected::Version(version),
            )
            .await;
        assert!(
            matches!(written, Written::Gone),
            "expected `Written::Gone`, got {written:?}"
        );
    }
    for key in [&this, &bobs, &nobodys] {
        assert!(harness.read(key).await.is_some());
    }
    assert_eq!(sessions_of(&harness, "ann").await.len(), 1);
    assert_eq!(destroy_sessions_of(&harness, "ann", Some(&this)).await, 0);
}

/// An exception that is not the owner's spares nothing, and is spared itself.
pub async fn an_exception_that_is_anothers_spares_nothing(harness: Arc<Harness>) {
    let (anns, bobs) = (key(), key());
    harness.create(&anns, &harness.record("ann's").with_owner("ann")).await;
    harness.create(&bobs, &harness.record("bob's").with_owner("bob")).await;
    assert_eq!(destroy_sessions_of(&harness, "ann", Some(&bobs)).await, 1);
    assert!(harness.read(&anns).await.is_none());
    assert!(harness.read(&bobs).await.is_some());
}

/// "A session that is the owner's from before the call until it is destroyed is not overlooked, whatever else is written meanwhile."
pub async fn no_session_of_an_owner_is_overlooked_while_others_come_and_go(harness: Arc<Harness>) {
    const WRITERS: u32 = 4;
    const ROUNDS: u32 = 8;
    let mut writers = JoinSet::new();
    for _ in 0..WRITERS {
        let harness = harness.clone();
        writers.spawn(async move {
            for _ in 0..ROUNDS {
                let keys = [key(), key(), key()];
                for key in &keys {
                    harness.create(key, &harness.record("bob's").with_owner("bob")).await;
                }
                for key in &keys {
                    harness.driver().destroy(key).await.expect("the record is destroyed");
                }
            }
        });
    }
    for _ in 0..ROUNDS {
        for _ in 0..8 {
            harness.create(&key(), &harness.record("ann's").with_owner("ann")).await;
        }
        assert_eq!(destroy_sessions_of(&harness, "ann", None).await, 8);
    }
    while let Some(done) = writers.join_next().await {
        done.expect("a writer comes to its end");
    }
}

/// The same while it is itself that is written, and touched, again and again: whoever does finds it gone.
pub async fn no_session_of_an_owner_is_overlooked_while_it_is_rewritten(harness: Arc<Harness>) {
    const ROUNDS: u32 = 4;
    let late = harness.late();
    for _ in 0..ROUNDS {
        let keys = [key(), key(), key(), key()];
        let (mut writers, begun) = (JoinSet::new(), Arc::new(Barrier::new(keys.len() + 1)));
        for key in keys {
            let record = harness.record("ann's").with_owner("ann");
            let mut seen = harness.create(&key, &record).await;
            let (harness, begun) = (harness.clone(), begun.clone());
            writers.spawn(async move {
                begun.wait().await;
                loop {
                    harness.touch(&key, late).await;
                    match harness.write(&key, &record, Expected::Version(seen)).await {
                        Written::Done(version) => seen = version,
                        Written::Gone => return,
                        Written::Conflict(_) => panic!("nobody else has written"),
                    }
                    // A driver that never waits would not let others in.
                    tokio::task::yield_now().await;
                }
            });
        }
        begun.wait().await;
        let destroyed = destroy_sessions_of(&harness, "ann", None).await;
        assert_eq!(destroyed, keys.len() as u64, "a session was overlooked");
        for key in &keys {
            assert!(harness.read(key).await.is_none(), "a session was overlooked");
        }
        writers.join_all().await;
        for key in &keys {
            assert!(harness.read(key).await.is_none(), "a session was brought back");
        }
    }
}

/// "A write or a touch at the same time does not bring it back", when it is all of an owner's that are destroyed.
pub async fn a_write_at_the_same_time_brings_no_session_of_an_owner_back(harness: Arc<Harness>) {
    for _ in 0..32 {
        let key = key();
        let record = harness.record("ann's").with_owner("ann");
        let version = harness.create(&key, &record).await;
        let (driver, second) = (harness.driver(), record.clone());
        let writer = tokio::spawn(async move { driver.write(&key, &second, Expected::Version(version)).await });
        let (driver, late) = (harness.driver(), harness.late());
        let toucher = tokio::spawn(async move { driver.touch(&key, late).await });
        assert_eq!(destroy_sessions_of(&harness, "ann", None).await, 1);
        let written = writer.await.expect("writing does not panic");
        let seen = match written.expect("the record is written") {
            Written::Done(second) => second,
            Written::Gone => version,
            Written::Conflict(_) => panic!("nobody else has written"),
        };
        let touched = toucher.await.expect("touching does not panic");
        touched.expect("the record is touched");
        assert!(harness.read(&key).await.is_none(), "a session was brought back");
        assert!(sessions_of(&harness, "ann").await.is_empty());
        let written = harness.write(&key, &record, Expected::Version(seen)).await;
        assert!(
            matches!(written, Written::Gone),
            "expected `Written::Gone`, got {written:?}"
        );
    }
}
