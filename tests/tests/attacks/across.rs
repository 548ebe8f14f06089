//! Requests of a guest that are in flight while somebody signs in under the same id. Nothing crosses the sign-in, in either direction.
//!
//! ```text
//! attacker  X: loads ............................... changes, saves -> refused, or a session of its own
//! victim         X: loads, signs in -> Y
//! ```

use crate::{ATTACKER, EVIL, Ground, SECRET, Step, VICTIM, Visitor, on_every_ground, owner, put};

/// Two visitors with the same id, a guest's.
async fn planted(ground: &Ground) -> (Visitor, Visitor) {
    let (attacker, victim) = (ground.attacker(), ground.victim());
    attacker.does(&[put("cart", "planted")]).await.gives_an_id();
    victim.take(&attacker.id());
    (attacker, victim)
}

async fn sign_in(visitor: &Visitor, name: &str, key: &str) {
    visitor.does(&[owner(name), put(key, 7)]).await.gives_an_id();
}

async fn assert_victim_is_signed_in(ground: &Ground, attacker: &Visitor, victim: &Visitor) {
    ground.assert_safe(attacker, victim).await;
    let seen = victim.sees().await;
    assert_eq!(seen.owner.as_deref(), Some(VICTIM), "{seen:?}");
    assert_eq!(seen.all[SECRET], 7);
}

async fn what_an_attackers_slow_request_changes_is_not_merged_into_the_sign_in(ground: Ground) {
    let change = || put(EVIL, 1);
    for change in [
        change(),
        Step::Increment(EVIL.into(), 1),
        Step::Forget("cart".into()),
        Step::Lifetime(60),
        Step::Token,
    ] {
        let (attacker, victim) = planted(&ground).await;
        let slow = attacker.begins(&[Step::Wait, change.clone(), put(EVIL, 2)]).await;
        sign_in(&victim, VICTIM, SECRET).await;
        let answer = slow.ends().await;
        answer.is_silent(409);
        assert_victim_is_signed_in(&ground, &attacker, &victim).await;
        assert_eq!(victim.sees().await.all["cart"], "planted", "{change:?}");
    }
}

async fn an_early_save_across_a_sign_in_is_refused_and_reads_nothing(ground: Ground) {
    let (attacker, victim) = planted(&ground).await;
    let steps = [
        Step::Wait,
        put(EVIL, 1),
        Step::Save,
        Step::Look,
        put(EVIL, 2),
        Step::Save,
        Step::Look,
        Step::Regenerate,
    ];
    let slow = attacker.begins(&steps[..7]).await;
    let regenerates = attacker.begins(&steps).await;
    sign_in(&victim, VICTIM, SECRET).await;
    let answer = slow.ends().await;
    answer.is_silent(409);
    assert_eq!(answer.failures().first(), Some(&"Superseded"), "{answer:?}");
    assert!(!answer.seen().all.contains_key(SECRET) && answer.seen().owner.is_none());
    let answer = regenerates.ends().await;
    assert_eq!(answer.failures().first(), Some(&"Superseded"), "{answer:?}");
    assert_victim_is_signed_in(&ground, &attacker, &victim).await;
}

async fn an_early_save_that_was_refused_does_not_keep_the_handler_from_signing_in(ground: Ground) {
    let (attacker, victim) = planted(&ground).await;
    let slow = [Step::Wait, put("page", 1), Step::Save, owner(VICTIM), put(SECRET, 7)];
    let slow = victim.begins(&slow).await;
    sign_in(&attacker, ATTACKER, EVIL).await;
    let answer = slow.ends().await;
    answer.gives_an_id();
    assert_eq!(answer.failures(), ["Superseded"]);
    assert_victim_is_signed_in(&ground, &attacker, &victim).await;
    assert!(
        !victim.sees().await.all.contains_key("page"),
        "what was refused is dropped"
    );
}

async fn an_early_save_that_was_refused_does_not_keep_the_handler_from_ending_the_session(ground: Ground) {
    let (attacker, victim) = planted(&ground).await;
    let slow = [
        Step::Wait,
        put("page", 1),
        Step::Save,
        Step::Invalidate,
        put("fresh", 1),
    ];
    let slow = victim.begins(&slow).await;
    sign_in(&attacker, ATTACKER, EVIL).await;
    let answer = slow.ends().await;
    answer.gives_an_id();
    assert_eq!(answer.failures(), ["Superseded"]);
    ground.assert_safe(&attacker, &victim).await;
    let seen = victim.sees().await;
    assert_eq!((seen.all.len(), &seen.all["fresh"]), (1, &1.into()));
    assert_eq!(
        attacker.sees().await.owner.as_deref(),
        Some(ATTACKER),
        "another owner's session lives on"
    );
}

async fn a_new_id_that_the_attacker_asks_for_across_a_sign_in_is_not_the_victims(ground: Ground) {
    let (attacker, victim) = planted(&ground).await;
    let slow = attacker
        .begins(&[Step::Wait, Step::Regenerate, put(EVIL, 1), Step::Look])
        .await;
    sign_in(&victim, VICTIM, SECRET).await;
    slow.ends().await.gives_an_id();
    assert_victim_is_signed_in(&ground, &attacker, &victim).await;
    let seen = attacker.sees().await;
    assert_eq!(
        (seen.owner, &seen.all["cart"], &seen.all[EVIL]),
        (None, &"planted".into(), &1.into())
    );
}

async fn an_attackers_slow_invalidate_does_not_end_the_victims_session(ground: Ground) {
    let (attacker, victim) = planted(&ground).await;
    let silent = attacker.begins(&[Step::Wait, Step::Invalidate]).await;
    let fresh = attacker.begins(&[Step::Wait, Step::Invalidate, put(EVIL, 1)]).await;
    sign_in(&victim, VICTIM, SECRET).await;
    assert_eq!(silent.ends_unheard().await.status, 200);
    fresh.ends().await.gives_an_id();
    assert_victim_is_signed_in(&ground, &attacker, &victim).await;
    assert_eq!(attacker.sees().await.all.len(), 1);
}

async fn an_attackers_slow_sign_in_does_not_take_over_the_victims_session(ground: Ground) {
    for steps in [
        vec![Step::Wait, owner(ATTACKER), put(EVIL, 1)],
        vec![Step::Wait, Step::Regenerate, owner(ATTACKER), put(EVIL, 1)],
        vec![Step::Wait, owner(ATTACKER), Step::Save, put(EVIL, 1)],
    ] {
        let (attacker, victim) = planted(&ground).await;
        let slow = attacker.begins(&steps).await;
        sign_in(&victim, VICTIM, SECRET).await;
        slow.ends().await.gives_an_id();
        assert_victim_is_signed_in(&ground, &attacker, &victim).await;
        assert_eq!(attacker.sees().await.owner.as_deref(), Some(ATTACKER));
    }
}

async fn a_reload_across_a_sign_in_shows_nothing_of_it(ground: Ground) {
    let (attacker, victim) = planted(&ground).await;
    let steps = [
        Step::Wait,
        put(EVIL, 1),
        Step::Reload,
        Step::Look,
        put(EVIL, 2),
        Step::Save,
        Step::Look,
    ];
    let slow = attacker.begins(&steps).await;
    sign_in(&victim, VICTIM, SECRET).await;
    let answer = slow.ends().await;
    assert_eq!(answer.set_cookie, None);
    assert!(
        !answer.seen().all.contains_key(SECRET) && answer.seen().owner.is_none(),
        "{answer:?}"
    );
    assert_victim_is_signed_in(&ground, &attacker, &victim).await;
}

async fn a_task_that_the_attacker_left_behind_does_not_get_across_a_sign_in(ground: Ground) {
    let (attacker, victim) = planted(&ground).await;
    let task = [
        Step::Wait,
        Step::Reload,
        Step::Look,
        put(EVIL, 1),
        Step::Save,
        Step::Look,
    ];
    let left = attacker.does(&[Step::Leave(task.to_vec())]).await.task(&attacker);
    sign_in(&victim, VICTIM, SECRET).await;
    for done in left.ends().await {
        if let crate::Done::Saw(seen) = done {
            assert!(seen.owner.is_none() && !seen.all.contains_key(SECRET), "{seen:?}");
        }
    }
    assert_victim_is_signed_in(&ground, &attacker, &victim).await;
}

async fn what_the_victims_slow_request_changes_is_not_merged_into_the_attackers_account(ground: Ground) {
    for steps in [
        vec![Step::Wait, put(SECRET, 7)],
        vec![Step::Wait, put(SECRET, 7), Step::Save],
        vec![put("page", 1), Step::Save, Step::Wait, put(SECRET, 7)],
    ] {
        let (attacker, victim) = planted(&ground).await;
        let slow = victim.begins(&steps).await;
        sign_in(&attacker, ATTACKER, EVIL).await;
        let answer = slow.ends().await;
        assert_eq!(answer.status, 409, "{answer:?}");
        ground.assert_safe(&attacker, &victim).await;
        assert_eq!(attacker.sees().await.owner.as_deref(), Some(ATTACKER));
        // The next sign-in under the id that has been given up works.
        sign_in(&victim, VICTIM, SECRET).await;
        assert_victim_is_signed_in(&ground, &attacker, &victim).await;
    }
}

async fn a_victims_slow_sign_in_is_not_merged_into_the_attackers_account(ground: Ground) {
    for steps in [
        vec![Step::Wait, owner(VICTIM), put(SECRET, 7)],
        vec![Step::Wait, Step::Regenerate, owner(VICTIM), put(SECRET, 7)],
        vec![
            put("page", 1),
            Step::Save,
            Step::Wait,
            Step::Regenerate,
            owner(VICTIM),
            put(SECRET, 7),
        ],
        vec![Step::Regenerate, Step::Save, Step::Wait, owner(VICTIM), put(SECRET, 7)],
    ] {
        let (attacker, victim) = planted(&ground).await;
        let slow = victim.begins(&steps).await;
        attacker.does(&[owner(ATTACKER), put(EVIL, 7)]).await;
        slow.ends().await.gives_an_id();
        assert_victim_is_signed_in(&ground, &attacker, &victim).await;
    }
}

async fn a_guests_new_id_is_a_boundary_too(ground: Ground) {
    // The attacker regenerates as a guest. What the victim's request writes does not follow.
    let (attacker, victim) = planted(&ground).await;
    let slow = victim.begins(&[Step::Wait, put(SECRET, 7)]).await;
    let early = victim
        .begins(&[Step::Wait, put(SECRET, 7), Step::Save, Step::Look])
        .await;
    attacker.does(&[Step::Regenerate, put(EVIL, 1)]).await.gives_an_id();
    slow.ends().await.is_silent(409);
    let answer = early.ends().await;
    answer.is_silent(409);
    assert_eq!(answer.failures(), ["Superseded"]);
    ground.assert_safe(&attacker, &victim).await;
}

on_every_ground! {
    what_an_attackers_slow_request_changes_is_not_merged_into_the_sign_in,
    an_early_save_across_a_sign_in_is_refused_and_reads_nothing,
    an_early_save_that_was_refused_does_not_keep_the_handler_from_signing_in,
    an_early_save_that_was_refused_does_not_keep_the_handler_from_ending_the_session,
    a_new_id_that_the_attacker_asks_for_across_a_sign_in_is_not_the_victims,
    an_attackers_slow_invalidate_does_not_end_the_victims_session,
    an_attackers_slow_sign_in_does_not_take_over_the_victims_session,
    a_reload_across_a_sign_in_shows_nothing_of_it,
    a_task_that_the_attacker_left_behind_does_not_get_across_a_sign_in,
    what_the_victims_slow_request_changes_is_not_merged_into_the_attackers_account,
    a_victims_slow_sign_in_is_not_merged_into_the_attackers_account,
    a_guests_new_id_is_a_boundary_too,
}
