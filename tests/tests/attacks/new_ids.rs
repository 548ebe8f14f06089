//! Two requests that ask for a new id at once: the first gets the mark. The other one gets a session of its own, or is merged where the owner is the same.

use std::time::Duration;

use crate::visitor::Answer;
use crate::{ATTACKER, EVIL, Ground, SECRET, Step, VICTIM, Visitor, on_every_ground, owner, put};

const LONGER_THAN_A_LIFETIME: Duration = Duration::from_secs(3 * 60 * 60);
const GRACE: Duration = Duration::from_secs(30);

async fn guest(ground: &Ground) -> Visitor {
    let guest = ground.victim();
    guest.does(&[put("cart", 1)]).await.gives_an_id();
    guest
}

async fn signed_in(ground: &Ground) -> Visitor {
    let visitor = ground.victim();
    visitor.does(&[owner(VICTIM), put(SECRET, 7)]).await.gives_an_id();
    visitor
}

/// Somebody else who has come to know the id.
fn thief_of(ground: &Ground, victim: &Visitor) -> Visitor {
    let thief = ground.attacker();
    thief.take(&victim.id());
    thief
}

fn sign_in() -> [Step; 3] {
    [Step::Wait, owner(VICTIM), put(SECRET, 7)]
}

/// The visitor holds this owner and these keys, and no others.
async fn assert_holds(visitor: &Visitor, owner: Option<&str>, keys: &[&str]) {
    let seen = visitor.sees().await;
    assert_eq!(seen.owner.as_deref(), owner, "{seen:?}");
    assert_eq!(
        seen.all.keys().map(String::as_str).collect::<Vec<_>>(),
        keys,
        "{seen:?}"
    );
}

/// Whether a request was refused that would have been merged, had its record not come from a cache: that may have been loaded before the mark or after. It is
/// merged or refused as a whole.
fn refused(ground: &Ground, answer: &Answer) -> bool {
    let refused = ground.is_stale && answer.status == 409;
    answer.is_silent(if refused { 409 } else { 200 });
    refused
}

async fn a_sign_in_keeps_the_guests_cart_though_another_request_was_faster(ground: Ground) {
    let victim = guest(&ground).await;
    let attacker = thief_of(&ground, &victim);
    let slow = victim.begins(&sign_in()).await;
    attacker.does(&[Step::Regenerate, put(EVIL, 1)]).await.gives_an_id();
    slow.ends().await.gives_an_id();
    assert_holds(&victim, Some(VICTIM), &["cart", SECRET]).await;
    ground.assert_safe(&attacker, &victim).await;
}

async fn a_sign_in_whose_session_expires_while_the_password_is_verified_signs_in(ground: Ground) {
    let victim = guest(&ground).await;
    let slow = victim.begins(&sign_in()).await;
    ground.advance(LONGER_THAN_A_LIFETIME).await;
    slow.ends().await.gives_an_id();
    assert_holds(&victim, Some(VICTIM), &[SECRET]).await;
}

async fn a_sign_in_whose_session_is_ended_while_the_password_is_verified_signs_in(ground: Ground) {
    let victim = guest(&ground).await;
    let attacker = thief_of(&ground, &victim);
    for regenerates in [false, true] {
        let steps = match regenerates {
            true => [&sign_in()[..], &[Step::Regenerate]].concat(),
            false => sign_in().to_vec(),
        };
        let victim = Visitor::of("victim", ground.near.clone(), &attacker.id());
        let slow = victim.begins(&steps).await;
        attacker.does(&[Step::Invalidate]).await;
        slow.ends().await.gives_an_id();
        assert_holds(&victim, Some(VICTIM), &[SECRET]).await;
        ground.assert_safe(&attacker, &victim).await;
        attacker.does(&[put("cart", 1)]).await.gives_an_id();
    }
}

async fn a_sign_in_whose_session_has_ended_under_another_id_brings_nothing_of_it_back(ground: Ground) {
    let victim = guest(&ground).await;
    let attacker = thief_of(&ground, &victim);
    let slow = victim.begins(&sign_in()).await;
    attacker.does(&[Step::Regenerate]).await.gives_an_id();
    attacker.does(&[Step::Invalidate]).await;
    slow.ends().await.gives_an_id();
    assert_holds(&victim, Some(VICTIM), &[SECRET]).await;
}

async fn a_sign_in_under_an_id_that_was_given_up_begins_with_nothing(ground: Ground) {
    let victim = guest(&ground).await;
    let attacker = thief_of(&ground, &victim);
    attacker.does(&[Step::Regenerate, put(EVIL, 1)]).await.gives_an_id();
    victim.does(&sign_in()[1..]).await.gives_an_id();
    // A cache may have had the cart, as it was before the id was given up.
    if !ground.is_stale {
        assert_holds(&victim, Some(VICTIM), &[SECRET]).await;
    }
    ground.assert_safe(&attacker, &victim).await;
}

async fn of_two_new_ids_of_one_owner_the_second_is_merged_into_the_first(ground: Ground) {
    let victim = signed_in(&ground).await;
    let slow = victim
        .begins(&[Step::Wait, Step::Regenerate, put("slow", 1), Step::Look])
        .await;
    victim.does(&[Step::Regenerate, put("fast", 1)]).await.gives_an_id();
    let answer = slow.ends().await;
    match refused(&ground, &answer) {
        true => assert_holds(&victim, Some(VICTIM), &["fast", SECRET]).await,
        false => assert_holds(&victim, Some(VICTIM), &["fast", SECRET, "slow"]).await,
    }
    let told = ground.stored(&answer.seen().id).await;
    assert!(
        told.all.is_empty() && told.owner.is_none(),
        "the id that it was shown is of no session"
    );
}

async fn a_request_of_the_same_owner_is_merged_within_the_grace_time_and_reads_nothing(ground: Ground) {
    let victim = signed_in(&ground).await;
    let steps = [
        Step::Wait,
        put("slow", 1),
        Step::Save,
        Step::Look,
        Step::Wait,
        put("late", 1),
        Step::Regenerate,
    ];
    let mut slow = victim.begins(&steps).await;
    victim.does(&[Step::Regenerate, put("fast", 1)]).await.gives_an_id();
    slow.goes_on().await;
    let answer = slow.ends().await;
    if refused(&ground, &answer) {
        return assert_holds(&victim, Some(VICTIM), &["fast", SECRET]).await;
    }
    let seen: Vec<&String> = match &answer.done[3] {
        crate::Done::Saw(seen) => seen.all.keys().collect(),
        other => panic!("{other:?}"),
    };
    assert_eq!(seen, [SECRET, "slow"]);
    assert_holds(&victim, Some(VICTIM), &["fast", "late", SECRET, "slow"]).await;
}

async fn a_request_of_the_same_owner_is_not_merged_after_the_grace_time(ground: Ground) {
    let victim = signed_in(&ground).await;
    let slow = victim.begins(&[Step::Wait, put("slow", 1)]).await;
    victim.does(&[Step::Regenerate]).await.gives_an_id();
    ground.advance(GRACE).await;
    assert_eq!(slow.ends().await.set_cookie, None);
    assert_holds(&victim, Some(VICTIM), &[SECRET]).await;
}

async fn a_new_id_of_a_session_that_has_ended_brings_nothing_back(ground: Ground) {
    let victim = signed_in(&ground).await;
    let thief = thief_of(&ground, &victim);
    let slow = thief
        .begins(&[Step::Wait, Step::Regenerate, put(EVIL, 1), Step::Look])
        .await;
    victim.does(&[Step::Invalidate]).await;
    slow.ends().await.is_silent(200);
    ground.assert_signed_out(&thief).await;
}

async fn a_put_of_the_same_owner_does_not_sign_in_under_a_session_that_has_ended(ground: Ground) {
    for steps in [
        vec![Step::Wait, owner(VICTIM), put(SECRET, 8), Step::Regenerate, Step::Look],
        vec![Step::Wait, Step::Regenerate, put(SECRET, 8), owner(VICTIM), Step::Look],
    ] {
        let victim = signed_in(&ground).await;
        let thief = thief_of(&ground, &victim);
        let slow = thief.begins(&steps).await;
        victim.does(&[Step::Invalidate]).await;
        slow.ends().await.is_silent(409);
        ground.assert_signed_out(&thief).await;
    }
}

async fn two_guests_under_one_id_get_a_session_each(ground: Ground) {
    let victim = guest(&ground).await;
    let attacker = thief_of(&ground, &victim);
    let slow = victim.begins(&[Step::Wait, Step::Regenerate, put(SECRET, 7)]).await;
    attacker.does(&[Step::Regenerate, put(EVIL, 1)]).await.gives_an_id();
    slow.ends().await.gives_an_id();
    assert_ne!(victim.id(), attacker.id());
    assert_holds(&victim, None, &["cart", SECRET]).await;
    assert_holds(&attacker, None, &["cart", EVIL]).await;
    ground.assert_safe(&attacker, &victim).await;
}

async fn a_guests_new_id_brings_nothing_back_where_the_session_has_ended(ground: Ground) {
    // Under its first id, under its second, and by its expiry.
    let endings: [(&[&[Step]], Duration); 3] = [
        (&[&[Step::Invalidate]], Duration::ZERO),
        (&[&[Step::Regenerate], &[Step::Invalidate]], Duration::ZERO),
        (&[], LONGER_THAN_A_LIFETIME),
    ];
    for (requests, later) in endings {
        let victim = guest(&ground).await;
        let attacker = thief_of(&ground, &victim);
        let slow = victim.begins(&[Step::Wait, Step::Regenerate, put("own", 1)]).await;
        for steps in requests {
            attacker.does(steps).await;
        }
        ground.advance(later).await;
        slow.ends().await.gives_an_id();
        assert_holds(&victim, None, &["own"]).await;
    }
}

async fn a_new_id_under_an_id_that_was_given_up_begins_with_nothing(ground: Ground) {
    let victim = guest(&ground).await;
    let attacker = thief_of(&ground, &victim);
    victim.does(&[owner(VICTIM), put(SECRET, 7)]).await.gives_an_id();
    attacker.does(&[Step::Regenerate, put(EVIL, 1)]).await.gives_an_id();
    assert_holds(&attacker, None, &[EVIL]).await;
    ground.assert_safe(&attacker, &victim).await;
}

async fn what_is_written_under_an_id_that_was_given_up_is_dropped(ground: Ground) {
    let victim = guest(&ground).await;
    let attacker = thief_of(&ground, &victim);
    victim.does(&[owner(VICTIM), put(SECRET, 7)]).await.gives_an_id();
    for steps in [
        vec![put(EVIL, 1)],
        vec![put(EVIL, 1), Step::Save, put(EVIL, 2)],
        vec![Step::Token],
        vec![Step::Flush],
    ] {
        let answer = attacker.does(&steps).await;
        assert_eq!(answer.set_cookie, None, "{answer:?}");
    }
    ground.assert_safe(&attacker, &victim).await;
    assert_holds(&victim, Some(VICTIM), &["cart", SECRET]).await;
}

async fn a_request_of_one_owner_is_not_merged_into_the_session_of_another(ground: Ground) {
    let attacker = ground.attacker();
    attacker.does(&[owner(ATTACKER), put("mine", 1)]).await.gives_an_id();
    let victim = ground.victim();
    victim.take(&attacker.id());
    let slow = attacker.begins(&[Step::Wait, put(EVIL, 1)]).await;
    let renews = attacker.begins(&[Step::Wait, Step::Regenerate, put(EVIL, 1)]).await;
    victim.does(&sign_in()[1..]).await.gives_an_id();
    assert_eq!(slow.ends().await.set_cookie, None);
    assert_eq!(renews.ends().await.set_cookie, None);
    assert_holds(&victim, Some(VICTIM), &[SECRET]).await;
    ground.assert_safe(&attacker, &victim).await;
}

on_every_ground! {
    a_sign_in_keeps_the_guests_cart_though_another_request_was_faster,
    a_sign_in_whose_session_expires_while_the_password_is_verified_signs_in,
    a_sign_in_whose_session_is_ended_while_the_password_is_verified_signs_in,
    a_sign_in_whose_session_has_ended_under_another_id_brings_nothing_of_it_back,
    a_sign_in_under_an_id_that_was_given_up_begins_with_nothing,
    of_two_new_ids_of_one_owner_the_second_is_merged_into_the_first,
    a_request_of_the_same_owner_is_merged_within_the_grace_time_and_reads_nothing,
    a_request_of_the_same_owner_is_not_merged_after_the_grace_time,
    a_new_id_of_a_session_that_has_ended_brings_nothing_back,
    a_put_of_the_same_owner_does_not_sign_in_under_a_session_that_has_ended,
    two_guests_under_one_id_get_a_session_each,
    a_guests_new_id_brings_nothing_back_where_the_session_has_ended,
    a_new_id_under_an_id_that_was_given_up_begins_with_nothing,
    what_is_written_under_an_id_that_was_given_up_is_dropped,
    a_request_of_one_owner_is_not_merged_into_the_session_of_another,
}
