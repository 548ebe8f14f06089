//! Responses that are lost, that come late, or that are followed by a task.

use std::time::Duration;

use crate::{ATTACKER, Done, EVIL, Ground, SECRET, Step, VICTIM, Visitor, on_every_ground, owner, put};

/// More than a tenth of a lifetime: the next response prolongs the cookie.
const A_WHILE: Duration = Duration::from_secs(20 * 60);

fn sign_in() -> [Step; 2] {
    [owner(VICTIM), put(SECRET, 7)]
}

async fn signed_in(ground: &Ground) -> Visitor {
    let visitor = ground.victim();
    visitor.does(&sign_in()).await.gives_an_id();
    visitor
}

async fn a_lost_response_to_a_sign_in_does_not_keep_the_visitor_out(ground: Ground) {
    let victim = ground.victim();
    victim.does(&[put("cart", 1)]).await.gives_an_id();
    victim.does_unheard(&sign_in()).await;
    assert_eq!(victim.sees().await.owner, None, "the id has been given up");
    victim.does(&[put("page", 1)]).await.is_silent(200);
    victim.does(&sign_in()).await.gives_an_id();
    let seen = victim.sees().await;
    assert_eq!((seen.owner.as_deref(), &seen.all[SECRET]), (Some(VICTIM), &7.into()));
}

async fn a_lost_response_to_a_sign_in_that_invalidates_does_not_keep_the_visitor_out(ground: Ground) {
    let victim = ground.victim();
    victim.does(&[put("cart", 1)]).await.gives_an_id();
    let steps = [&[Step::Invalidate], &sign_in()[..]].concat();
    victim.does_unheard(&steps).await;
    victim.does(&steps).await.gives_an_id();
    assert_eq!(victim.sees().await.owner.as_deref(), Some(VICTIM));
}

async fn an_attacker_who_plants_a_given_up_id_again_and_again_does_not_keep_the_victim_out(ground: Ground) {
    let victim = ground.victim();
    for _ in 0..3 {
        let attacker = ground.attacker();
        attacker.does(&[put("cart", 1)]).await.gives_an_id();
        victim.take(&attacker.id());
        attacker.does(&[Step::Regenerate]).await.gives_an_id();
        victim.does(&sign_in()).await.gives_an_id();
        assert_eq!(victim.sees().await.owner.as_deref(), Some(VICTIM));
        ground.assert_safe(&attacker, &victim).await;
    }
}

async fn a_late_response_does_not_set_the_cookie_of_a_session_that_was_signed_out(ground: Ground) {
    // The early save has prolonged the session, so the response would prolong the cookie.
    for ending in [vec![Step::Invalidate], vec![owner("another")], vec![Step::Flush]] {
        let victim = signed_in(&ground).await;
        ground.advance(A_WHILE).await;
        let late = victim.begins(&[put("page", 1), Step::Save, Step::Wait]).await;
        let tab = victim.at(&ground.far);
        tab.does(&ending).await;
        let answer = late.ends_unheard().await;
        answer.is_silent(200);
    }
}

async fn a_late_response_does_not_set_the_cookie_of_an_id_that_was_given_up(ground: Ground) {
    let victim = signed_in(&ground).await;
    ground.advance(A_WHILE).await;
    let late = victim.begins(&[put("page", 1), Step::Save, Step::Wait]).await;
    victim.at(&ground.far).does(&[Step::Regenerate]).await.gives_an_id();
    late.ends().await.is_silent(200);
    assert_eq!(victim.sees().await.owner.as_deref(), Some(VICTIM));
}

async fn a_late_response_does_not_set_the_cookie_of_a_sign_in_that_was_ended_everywhere(ground: Ground) {
    for steps in [
        [&sign_in()[..], &[Step::Save, Step::Wait]].concat(),
        [&[Step::Regenerate], &sign_in()[..], &[Step::Save, Step::Wait]].concat(),
    ] {
        let victim = ground.victim();
        victim.does(&[put("cart", 1)]).await.gives_an_id();
        let late = victim.begins(&steps).await;
        assert_eq!(ground.sign_out_everywhere(VICTIM).await, 1);
        assert_eq!(late.ends().await.set_cookie, None);
        assert_eq!(victim.sees().await.owner, None);
    }
}

async fn a_late_response_with_a_live_session_still_sets_its_cookie(ground: Ground) {
    let victim = signed_in(&ground).await;
    ground.advance(A_WHILE).await;
    let late = victim.begins(&[put("page", 1), Step::Save, Step::Wait]).await;
    victim.at(&ground.far).does(&[put("other", 1)]).await;
    late.ends().await.gives_an_id();
}

async fn a_task_does_not_save_after_the_response_what_its_request_could_not(ground: Ground) {
    // The save of the response fails, because the number has become a list. The task tries again when it is a number again.
    let victim = signed_in(&ground).await;
    victim.does(&[put("n", 1)]).await;
    let task = vec![Step::Wait, Step::Save, put("n", 5), Step::Look];
    let slow = [
        Step::Leave(task),
        Step::Wait,
        Step::Increment("n".into(), 1),
        Step::Regenerate,
    ];
    let slow = victim.begins(&slow).await;
    victim.does(&[put("n", serde_json::json!([]))]).await;
    let answer = slow.ends().await;
    assert_eq!((answer.status, answer.set_cookie.as_deref()), (500, None));
    victim.does(&[put("n", 3)]).await;
    let done = answer.task(&victim).ends().await;
    assert_eq!(
        done[1..3],
        ["Committed", "Committed"].map(|kind| Done::Failed(kind.into()))
    );
    let seen = victim.sees().await;
    assert_eq!(
        (seen.owner.as_deref(), &seen.all["n"]),
        (Some(VICTIM), &3.into()),
        "the visitor is still signed in"
    );
}

async fn a_task_cannot_begin_a_session_or_give_it_an_id_that_nobody_is_told(ground: Ground) {
    for (steps, stays) in [
        (vec![Step::Reload, Step::Regenerate, Step::Save], true),
        (vec![Step::Reload, owner(ATTACKER), put(EVIL, 1), Step::Save], false),
        (vec![Step::Reload, Step::Invalidate, put(EVIL, 1), Step::Save], false),
    ] {
        let victim = signed_in(&ground).await;
        let task = [&[Step::Wait], &steps[..], &[Step::Look]].concat();
        let answer = victim.does(&[Step::Leave(task)]).await;
        let done = answer.task(&victim).ends().await;
        assert!(done.contains(&Done::Failed("Committed".into())), "{done:?}");
        let Some(Done::Saw(seen)) = done.last() else {
            panic!("{done:?}")
        };
        if seen.id != victim.id() {
            let stored = ground.stored(&seen.id).await;
            assert!(stored.owner.is_none() && stored.all.is_empty(), "{stored:?}");
        }
        let stored = ground.stored(&victim.id()).await;
        assert_eq!(stored.owner.is_some(), stays, "{steps:?}: {stored:?}");
        assert!(!stored.all.contains_key(EVIL), "{stored:?}");
    }
}

on_every_ground! {
    a_lost_response_to_a_sign_in_does_not_keep_the_visitor_out,
    a_lost_response_to_a_sign_in_that_invalidates_does_not_keep_the_visitor_out,
    an_attacker_who_plants_a_given_up_id_again_and_again_does_not_keep_the_victim_out,
    a_late_response_does_not_set_the_cookie_of_a_session_that_was_signed_out,
    a_late_response_does_not_set_the_cookie_of_an_id_that_was_given_up,
    a_late_response_does_not_set_the_cookie_of_a_sign_in_that_was_ended_everywhere,
    a_late_response_with_a_live_session_still_sets_its_cookie,
    a_task_does_not_save_after_the_response_what_its_request_could_not,
    a_task_cannot_begin_a_session_or_give_it_an_id_that_nobody_is_told,
}
