//! A connection that is cut in the middle of a save, or was cut before it.

use std::sync::Arc;

use session_schema::{Driver, Expected, Written};
use session_tests::servers::{MariaDb, Postgres, Relay};

use crate::place::{Kind, Place, create, done, new_key, on_every_server, told};

/// A driver whose connections go through a relay, and one whose do not.
struct Scene {
    relay: Relay,
    place: Arc<Place>,
    driver: Arc<dyn Driver>,
    direct: Arc<dyn Driver>,
}

impl Scene {
    async fn new(place: Place) -> Self {
        let direct = place.open().await;
        let (port, user) = match place.kind {
            Kind::MySql => (MariaDb::shared().port(), "root"),
            _ => (Postgres::shared().port(), "postgres"),
        };
        let relay = Relay::to(port).await;
        let url = match place.kind {
            Kind::MySql => MariaDb::shared().url_of(user, relay.port()),
            _ => Postgres::shared().url_of(user, relay.port()),
        };
        let through = Place {
            table: place.table.clone(),
            clock: place.clock.clone(),
            url: Some(url),
            ..Place::of(place.kind)
        };
        let driver = through.open().await;
        let place = Arc::new(place);
        Self {
            relay,
            place,
            driver,
            direct,
        }
    }
}

async fn a_replacement_whose_answer_is_lost_is_done_once(place: Place) {
    let scene = Scene::new(place).await;
    let key = new_key();
    let version = create(&*scene.driver, &key, &scene.place.record("first")).await;
    let cut = scene.relay.lose_answer("the lost one");
    cut.go_on();
    let written = scene
        .driver
        .write(&key, &scene.place.record("the lost one"), Expected::Version(version))
        .await;
    let version = done(written.unwrap());
    let read = scene.direct.read(&key).await.unwrap().unwrap();
    assert_eq!((read.payload(), read.version()), (&b"the lost one"[..], version));
}

async fn a_creation_whose_answer_is_lost_is_done_once(place: Place) {
    let scene = Scene::new(place).await;
    let key = new_key();
    let cut = scene.relay.lose_answer("the lost one");
    cut.go_on();
    let version = create(&*scene.driver, &key, &scene.place.record("the lost one")).await;
    let read = scene.direct.read(&key).await.unwrap().unwrap();
    assert_eq!((read.payload(), read.version()), (&b"the lost one"[..], version));
}

async fn a_write_that_never_reached_the_server_is_sent_again(place: Place) {
    let scene = Scene::new(place).await;
    let key = new_key();
    let cut = scene.relay.lose_request("the lost one");
    cut.go_on();
    let version = create(&*scene.driver, &key, &scene.place.record("the lost one")).await;
    let cut = scene.relay.lose_request("lost again");
    cut.go_on();
    let written = scene
        .driver
        .write(&key, &scene.place.record("lost again"), Expected::Version(version))
        .await;
    let version = done(written.unwrap());
    let read = scene.direct.read(&key).await.unwrap().unwrap();
    assert_eq!((read.payload(), read.version()), (&b"lost again"[..], version));
}

async fn a_write_of_which_nobody_can_tell_whether_it_was_done_is_an_error_and_not_a_conflict(place: Place) {
    // A conflict would make the writer add its change to a record that may have it already.
    let scene = Scene::new(place).await;
    let key = new_key();
    let version = create(&*scene.driver, &key, &scene.place.record("first")).await;
    let mut cut = scene.relay.lose_answer("the lost one");
    let (driver, place) = (scene.driver.clone(), scene.place.clone());
    let write = tokio::spawn(async move {
        driver
            .write(&key, &place.record("the lost one"), Expected::Version(version))
            .await
    });
    cut.reached().await;
    let lost = scene.direct.read(&key).await.unwrap().unwrap();
    assert_eq!(lost.payload(), b"the lost one");
    let next = scene.place.record("of another");
    done(
        scene
            .direct
            .write(&key, &next, Expected::Version(lost.version()))
            .await
            .unwrap(),
    );
    cut.go_on();
    let error = write.await.unwrap().unwrap_err();
    assert!(
        error.is_unavailable() && told(&error).contains("not known"),
        "{}",
        told(&error)
    );
    assert_eq!(scene.direct.read(&key).await.unwrap().unwrap().payload(), b"of another");
}

async fn a_write_whose_session_is_destroyed_meanwhile_is_gone(place: Place) {
    let scene = Scene::new(place).await;
    let key = new_key();
    let version = create(&*scene.driver, &key, &scene.place.record("first")).await;
    let mut cut = scene.relay.lose_answer("the lost one");
    let (driver, place) = (scene.driver.clone(), scene.place.clone());
    let write = tokio::spawn(async move {
        driver
            .write(&key, &place.record("the lost one"), Expected::Version(version))
            .await
    });
    cut.reached().await;
    assert!(scene.direct.destroy(&key).await.unwrap());
    cut.go_on();
    let written = write.await.unwrap();
    assert!(matches!(written, Ok(Written::Gone)), "{written:?}");
    assert!(scene.direct.read(&key).await.unwrap().is_none());
}

async fn connections_that_were_cut_while_they_lay_in_the_pool_make_nothing_fail(place: Place) {
    let scene = Scene::new(place).await;
    let key = new_key();
    let mut version = create(&*scene.driver, &key, &scene.place.record("first")).await;
    for round in 0..5 {
        // As many connections as there may be.
        let all = (0..20).map(|_| {
            tokio::spawn({
                let driver = scene.driver.clone();
                async move { driver.read(&key).await.unwrap().is_some() }
            })
        });
        for read in all.collect::<Vec<_>>() {
            assert!(read.await.unwrap());
        }
        scene.relay.cut_all().await;
        match round {
            0 => assert!(scene.driver.read(&key).await.unwrap().is_some()),
            1 => {
                let written = scene
                    .driver
                    .write(&key, &scene.place.record("more"), Expected::Version(version))
                    .await;
                version = done(written.unwrap());
            }
            2 => assert!(scene.driver.touch(&key, scene.place.late()).await.unwrap()),
            3 => assert_eq!(scene.driver.gc().await.unwrap(), 0),
            _ => assert!(scene.driver.destroy(&key).await.unwrap()),
        }
    }
    assert!(scene.direct.read(&key).await.unwrap().is_none());
}

async fn another_visitors_session_is_not_read_over_a_connection_that_is_out_of_step(place: Place) {
    let scene = Scene::new(place).await;
    let (ours, theirs) = (new_key(), new_key());
    let record = |text: &str, owner: &str| scene.place.record(text).with_owner(owner);
    let version = create(&*scene.driver, &ours, &record("ours", "ann")).await;
    create(&*scene.driver, &theirs, &record("theirs", "bob")).await;
    scene.relay.swap(ours.as_str(), theirs.as_str());
    let error = scene.driver.read(&ours).await.unwrap_err();
    assert!(
        !error.is_unavailable() && told(&error).contains("another session"),
        "{}",
        told(&error)
    );
    // What is in the way of a write is read in the same way.
    let late = scene.place.record("late");
    let written = scene.driver.write(&ours, &late, Expected::Absent).await;
    assert!(told(&written.unwrap_err()).contains("another session"));
    let written = scene.driver.write(&ours, &late, Expected::Version(version)).await;
    assert!(told(&written.unwrap_err()).contains("another session"));
    for text in [ours.as_str(), theirs.as_str(), "theirs", "bob"] {
        assert!(!told(&error).contains(text), "{}", told(&error));
    }

    scene.relay.swap("ann", "bob");
    let error = scene.driver.owners().unwrap().sessions_of("ann").await.unwrap_err();
    assert!(told(&error).contains("another session"), "{}", told(&error));
    scene.relay.swap("", "");
    assert_eq!(scene.driver.read(&ours).await.unwrap().unwrap().payload(), b"ours");
    assert_eq!(
        scene.driver.owners().unwrap().sessions_of("ann").await.unwrap().len(),
        1
    );
}

on_every_server! {
    another_visitors_session_is_not_read_over_a_connection_that_is_out_of_step,
    a_replacement_whose_answer_is_lost_is_done_once,
    a_creation_whose_answer_is_lost_is_done_once,
    a_write_that_never_reached_the_server_is_sent_again,
    a_write_of_which_nobody_can_tell_whether_it_was_done_is_an_error_and_not_a_conflict,
    a_write_whose_session_is_destroyed_meanwhile_is_gone,
    connections_that_were_cut_while_they_lay_in_the_pool_make_nothing_fail,
}

/// Has a table do something else before each statement, or row, that updates it.
async fn before_update(place: &Place, each: &str, body: &str) {
    let table = &place.table;
    let trigger = format!(
        "CREATE SEQUENCE {table}_times;
         CREATE FUNCTION {table}_instead() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$;
         CREATE TRIGGER instead BEFORE UPDATE ON {table} FOR EACH {each} EXECUTE FUNCTION {table}_instead()"
    );
    place.execute(&trigger).await;
}

#[tokio::test]
async fn a_write_of_which_the_database_itself_cannot_tell_is_an_error_and_not_a_conflict() {
    let place = Place::of(Kind::Postgres);
    let (driver, key) = (place.open().await, new_key());
    let version = create(&*driver, &key, &place.record("first")).await;
    let next = place.record("of another");
    done(driver.write(&key, &next, Expected::Version(version)).await.unwrap());
    // statement_completion_unknown, the first time.
    let body = format!(
        "IF nextval('{}_times') = 1 THEN RAISE EXCEPTION 'unknown' USING ERRCODE = '40003'; END IF; RETURN NULL;",
        place.table
    );
    before_update(&place, "STATEMENT", &body).await;
    let late = place.record("late");
    let error = driver.write(&key, &late, Expected::Version(version)).await.unwrap_err();
    assert!(
        error.is_unavailable() && told(&error).contains("not known"),
        "{}",
        told(&error)
    );
}

#[tokio::test]
async fn a_write_that_is_found_stored_is_done_whatever_the_database_has_said_of_it() {
    let place = Place::of(Kind::Postgres);
    let (driver, key) = (place.open().await, new_key());
    let version = create(&*driver, &key, &place.record("first")).await;
    // It says that no row has changed, because another statement has changed it.
    let body = format!(
        "IF pg_trigger_depth() > 1 THEN RETURN NEW; END IF;
         UPDATE {} SET payload = NEW.payload, version = NEW.version WHERE session_key = NEW.session_key;
         RETURN NULL;",
        place.table
    );
    before_update(&place, "ROW", &body).await;
    let second = place.record("second");
    let version = done(driver.write(&key, &second, Expected::Version(version)).await.unwrap());
    let read = driver.read(&key).await.unwrap().unwrap();
    assert_eq!((read.payload(), read.version()), (&b"second"[..], version));
}
