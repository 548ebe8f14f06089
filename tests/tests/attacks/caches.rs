//! Two processes with a cache each. One still has a record that the other one has replaced by a mark, or ended, and a request comes there afterwards.
//!
//! No such request was in flight: "in flight" means loaded before the mark, whatever a cache had.

use std::time::Duration;

use crate::{ATTACKER, EVIL, Ground, SECRET, Step, VICTIM, Visitor, owner, put};

/// A ground whose caches are told of no changes, the victim and the attacker with a guest's id, and the record in both caches.
async fn planted() -> (Ground, Visitor, Visitor) {
    let ground = Ground::divided("stale redis").await;
    let (attacker, victim) = (ground.attacker(), ground.victim());
    attacker.does(&[put("cart", "planted")]).await.gives_an_id();
    victim.take(&attacker.id());
    assert!(attacker.sees().await.all.contains_key("cart"));
    assert!(victim.sees().await.all.contains_key("cart"));
    (ground, attacker, victim)
}

/// The same where the victim is signed in, and a thief has a copy of the cookie.
async fn stolen() -> (Ground, Visitor, Visitor) {
    let ground = Ground::divided("stale redis").await;
    let (thief, victim) = (ground.attacker(), ground.victim());
    victim.does(&[owner(VICTIM), put(SECRET, 7)]).await.gives_an_id();
    thief.take(&victim.id());
    assert_eq!(thief.sees().await.owner.as_deref(), Some(VICTIM));
    (ground, thief, victim)
}

#[tokio::test]
async fn a_cache_that_has_the_planted_record_does_not_let_the_attacker_across_the_sign_in() {
    for steps in [
        vec![put(EVIL, 1)],
        vec![put(EVIL, 1), Step::Save, Step::Look],
        vec![Step::Token],
        vec![Step::Reload, Step::Look, put(EVIL, 1)],
    ] {
        let (ground, attacker, victim) = planted().await;
        victim.does(&[owner(VICTIM), put(SECRET, 7)]).await.gives_an_id();
        let answer = attacker.does(&steps).await;
        assert_eq!(answer.set_cookie, None, "{answer:?}");
        ground.assert_safe(&attacker, &victim).await;
        assert_eq!(victim.sees().await.owner.as_deref(), Some(VICTIM));
    }
}

#[tokio::test]
async fn a_cache_that_has_the_planted_record_does_not_let_the_attacker_end_the_victims_session() {
    let (ground, attacker, victim) = planted().await;
    victim.does(&[owner(VICTIM), put(SECRET, 7)]).await.gives_an_id();
    attacker.does(&[Step::Invalidate, put(EVIL, 1)]).await.gives_an_id();
    assert_eq!(attacker.sees().await.all.len(), 1);
    ground.assert_safe(&attacker, &victim).await;
    assert_eq!(victim.sees().await.owner.as_deref(), Some(VICTIM));
}

#[tokio::test]
async fn a_new_id_from_a_cache_holds_nothing_that_came_after_the_cached_record() {
    for (steps, name) in [
        (vec![Step::Regenerate, put("own", 1)], None),
        (vec![owner(ATTACKER), put("own", 1)], Some(ATTACKER)),
    ] {
        let (ground, attacker, victim) = planted().await;
        victim.does(&[owner(VICTIM), put(SECRET, 7)]).await.gives_an_id();
        attacker.does(&steps).await.gives_an_id();
        let seen = attacker.sees().await;
        assert_eq!((seen.owner.as_deref(), &seen.all["own"]), (name, &1.into()));
        assert!(seen.all.keys().all(|key| ["cart", "own"].contains(&&**key)), "{seen:?}");
        ground.assert_safe(&attacker, &victim).await;
    }
}

#[tokio::test]
async fn a_cache_that_has_the_planted_record_does_not_sign_the_victim_in_as_the_attacker() {
    for steps in [
        vec![owner(VICTIM), put(SECRET, 7)],
        vec![Step::Regenerate, owner(VICTIM), put(SECRET, 7)],
        vec![put("page", 1), Step::Save, owner(VICTIM), put(SECRET, 7)],
    ] {
        let (ground, attacker, victim) = planted().await;
        attacker.does(&[owner(ATTACKER), put(EVIL, 1)]).await.gives_an_id();
        victim.does(&steps).await.gives_an_id();
        ground.assert_safe(&attacker, &victim).await;
        assert_eq!(victim.sees().await.owner.as_deref(), Some(VICTIM));
    }
}

#[tokio::test]
async fn a_cache_that_has_a_record_of_the_same_owner_does_not_let_a_late_request_be_merged() {
    for steps in [
        vec![put(EVIL, 1)],
        vec![put(EVIL, 1), Step::Save, put(EVIL, 2)],
        vec![Step::Regenerate, put(EVIL, 1)],
    ] {
        let (ground, thief, victim) = stolen().await;
        victim.does(&[Step::Regenerate]).await.gives_an_id();
        assert_eq!(thief.does(&steps).await.set_cookie, None);
        let seen = ground.stored(&victim.id()).await;
        assert!(!seen.all.contains_key(EVIL), "{steps:?}: {seen:?}");
    }
}

#[tokio::test]
async fn a_cache_that_has_a_signed_out_session_brings_nothing_back() {
    for (steps, status) in [
        (vec![put(EVIL, 1)], None),
        (vec![Step::Regenerate, put(EVIL, 1), Step::Look], None),
        (
            vec![owner(VICTIM), put(EVIL, 1), Step::Regenerate, Step::Look],
            Some(409),
        ),
    ] {
        for everywhere in [true, false] {
            let (ground, thief, victim) = stolen().await;
            match everywhere {
                true => drop(ground.sign_out_everywhere(VICTIM).await),
                false => drop(victim.does(&[Step::Invalidate]).await),
            }
            let answer = thief.does(&steps).await;
            assert_eq!(answer.set_cookie, None, "{answer:?}");
            assert!(status.is_none_or(|status| status == answer.status), "{answer:?}");
            ground.assert_signed_out(&thief).await;
        }
    }
}

#[tokio::test]
async fn a_guests_new_id_looks_past_the_cache_where_the_mark_leads() {
    // The second request of the victim's application has the first one's new session in its cache, as it was before it ended.
    let (ground, attacker, victim) = planted().await;
    let slow = victim.begins(&[Step::Wait, Step::Regenerate, put("own", 1)]).await;
    attacker.does(&[Step::Regenerate]).await.gives_an_id();
    let tab = Visitor::of("tab", ground.near.clone(), &attacker.id());
    assert!(tab.sees().await.all.contains_key("cart"));
    attacker.does(&[Step::Invalidate]).await;
    slow.ends().await.gives_an_id();
    assert_eq!(victim.sees().await.all.keys().collect::<Vec<_>>(), ["own"]);
}

#[tokio::test]
async fn a_sign_out_is_seen_by_the_other_process_when_its_cache_is_out_of_date() {
    let (ground, thief, victim) = stolen().await;
    victim.does(&[Step::Invalidate]).await;
    ground.advance(Duration::from_secs(60)).await;
    assert_eq!(thief.sees().await.owner, None);
}
