//! Who ends which session, and that what has ended does not come back.

use crate::{EVIL, Ground, SECRET, Step, VICTIM, Visitor, on_every_ground, owner, put};

/// The victim is signed in, and a thief has a copy of the cookie.
async fn stolen(ground: &Ground) -> (Visitor, Visitor) {
    let (thief, victim) = (ground.attacker(), ground.victim());
    victim.does(&[owner(VICTIM), put(SECRET, 7)]).await.gives_an_id();
    thief.take(&victim.id());
    (thief, victim)
}

async fn a_thief_who_regenerates_while_the_victim_signs_out_everywhere_keeps_nothing(ground: Ground) {
    // The thief's request is in flight, has saved already, or has been answered.
    for steps in [
        vec![Step::Wait, Step::Regenerate, put(EVIL, 1), Step::Look],
        vec![
            Step::Regenerate,
            Step::Save,
            Step::Look,
            Step::Wait,
            put(EVIL, 1),
            Step::Look,
        ],
        vec![Step::Wait, put(EVIL, 1), Step::Save, Step::Regenerate, Step::Look],
    ] {
        let (thief, victim) = stolen(&ground).await;
        let slow = thief.begins(&steps).await;
        assert_eq!(ground.sign_out_everywhere(VICTIM).await, 1);
        let answer = slow.ends().await;
        assert_eq!(answer.set_cookie, None, "{steps:?}: {answer:?}");
        ground.assert_signed_out(&thief).await;
        ground.assert_signed_out(&victim).await;
    }
    let (thief, victim) = stolen(&ground).await;
    thief.does(&[Step::Regenerate]).await.gives_an_id();
    assert_eq!(ground.sign_out_everywhere(VICTIM).await, 1);
    ground.assert_signed_out(&thief).await;
    ground.assert_signed_out(&victim).await;
}

async fn a_thief_does_not_sign_in_again_under_a_session_that_was_ended_everywhere(ground: Ground) {
    for steps in [
        vec![Step::Wait, owner(VICTIM), put(EVIL, 1), Step::Look],
        vec![Step::Wait, owner(VICTIM), put(EVIL, 1), Step::Regenerate, Step::Look],
    ] {
        let (thief, _) = stolen(&ground).await;
        let slow = thief.begins(&steps).await;
        ground.sign_out_everywhere(VICTIM).await;
        slow.ends().await.is_silent(409);
        ground.assert_signed_out(&thief).await;
    }
}

async fn leaving_the_owner_and_coming_back_does_not_sign_in_under_a_session_that_has_ended(ground: Ground) {
    let leave = || Step::Owner(None);
    for steps in [
        vec![Step::Wait, leave(), owner(VICTIM), put(EVIL, 1), Step::Look],
        vec![Step::Wait, owner("another"), owner(VICTIM), put(EVIL, 1), Step::Look],
        vec![
            Step::Wait,
            put(EVIL, 1),
            leave(),
            put(EVIL, 2),
            owner(VICTIM),
            Step::Regenerate,
            Step::Look,
        ],
    ] {
        let (thief, victim) = stolen(&ground).await;
        let slow = thief.begins(&steps).await;
        victim.does(&[Step::Invalidate]).await;
        slow.ends().await.is_silent(409);
        ground.assert_signed_out(&thief).await;
    }
}

async fn a_sign_out_ends_the_session_under_the_id_that_a_thief_has_given_it(ground: Ground) {
    let (thief, victim) = stolen(&ground).await;
    let slow = victim.begins(&[Step::Wait, Step::Invalidate]).await;
    thief.does(&[Step::Regenerate, put(EVIL, 1)]).await.gives_an_id();
    assert_eq!(slow.ends().await.status, 200);
    ground.assert_signed_out(&thief).await;
}

async fn a_sign_out_ends_the_session_though_a_thief_regenerates_again_and_again(ground: Ground) {
    let (thief, victim) = stolen(&ground).await;
    let slow = victim.begins(&[Step::Wait, Step::Invalidate]).await;
    for _ in 0..3 {
        thief.does(&[Step::Regenerate]).await.gives_an_id();
    }
    assert_eq!(slow.ends().await.status, 200);
    ground.assert_signed_out(&thief).await;
}

async fn a_change_of_owner_ends_the_session_under_the_id_that_a_thief_has_given_it(ground: Ground) {
    for change in [
        owner("another"),
        Step::Owner(None),
        Step::Flush,
        Step::Replace(Default::default()),
    ] {
        let (thief, victim) = stolen(&ground).await;
        let slow = victim.begins(&[Step::Wait, change]).await;
        thief.does(&[Step::Regenerate, put(EVIL, 1)]).await.gives_an_id();
        assert_eq!(slow.ends().await.status, 200);
        ground.assert_signed_out(&thief).await;
    }
}

async fn a_sign_out_with_an_id_that_was_given_up_does_not_end_what_followed(ground: Ground) {
    let (old, victim) = stolen(&ground).await;
    victim.does(&[Step::Regenerate]).await.gives_an_id();
    assert_eq!(old.at(&ground.near).does(&[Step::Invalidate]).await.status, 200);
    old.take(old.known().first().expect("it knows the old id"));
    let answer = old.at(&ground.near).does(&[Step::Invalidate, put("own", 1)]).await;
    answer.gives_an_id();
    let seen = old.at(&ground.near).sees().await;
    assert_eq!((seen.owner, seen.all.len()), (None, 1));
    assert_eq!(victim.sees().await.owner.as_deref(), Some(VICTIM));
}

async fn a_request_in_flight_does_not_bring_a_session_back_that_was_signed_out(ground: Ground) {
    for steps in [
        vec![Step::Wait, put(EVIL, 1)],
        vec![Step::Wait, put(EVIL, 1), Step::Save, put(EVIL, 2)],
        vec![put(EVIL, 1), Step::Save, Step::Wait, put(EVIL, 2)],
        vec![Step::Wait, Step::Reload, put(EVIL, 1)],
        vec![Step::Wait, Step::Token],
    ] {
        let (thief, victim) = stolen(&ground).await;
        let slow = thief.begins(&steps).await;
        victim.does(&[Step::Invalidate]).await;
        let answer = slow.ends().await;
        assert_eq!(answer.set_cookie, None, "{answer:?}");
        ground.assert_signed_out(&thief).await;
    }
}

async fn a_sign_out_ends_every_live_session_whose_cookie_came(ground: Ground) {
    for live in [2, 5] {
        let mut all = Vec::new();
        for _ in 0..live {
            all.push(stolen(&ground).await.1);
        }
        let unknown = "x".repeat(40);
        let cookies: Vec<_> = all.iter().map(|visitor| format!("session={}", visitor.id())).collect();
        let cookies = format!("session={unknown}; {}; other=1; session=bad", cookies.join("; "));
        let browser = ground.victim();
        assert_eq!(browser.does_with(&cookies, &[Step::Invalidate]).await.status, 200);
        for visitor in &all {
            ground.assert_signed_out(visitor).await;
        }
    }
}

async fn an_id_that_was_given_up_does_not_keep_the_other_cookies_sessions_alive(ground: Ground) {
    let (first, second) = (stolen(&ground).await, stolen(&ground).await);
    let given_up = second.1.id();
    second.1.does(&[Step::Regenerate]).await.gives_an_id();
    for cookies in [[given_up.clone(), first.1.id()], [first.1.id(), given_up]] {
        let cookies = cookies.map(|id| format!("session={id}")).join("; ");
        let browser = ground.victim();
        browser
            .does_with(&cookies, &[Step::Invalidate, put("own", 1)])
            .await
            .gives_an_id();
        ground.assert_signed_out(&first.1).await;
        assert_eq!(browser.sees().await.all.len(), 1);
    }
    assert_eq!(second.1.sees().await.owner.as_deref(), Some(VICTIM));
}

async fn a_flush_or_a_replacement_of_the_content_signs_out(ground: Ground) {
    let content = || [("own".to_owned(), 1.into())].into_iter().collect();
    for steps in [
        vec![Step::Flush],
        vec![Step::Flush, put("own", 1)],
        vec![Step::Replace(content())],
        vec![put("own", 0), Step::Regenerate, Step::Replace(content())],
    ] {
        let (thief, victim) = stolen(&ground).await;
        let slow = thief.begins(&[Step::Wait, put(EVIL, 1)]).await;
        let answer = victim.does(&steps).await;
        assert_eq!(answer.status, 200);
        assert_eq!(slow.ends().await.set_cookie, None);
        ground.assert_signed_out(&thief).await;
        let seen = victim.sees().await;
        assert_eq!(seen.owner, None, "{steps:?}");
        assert!(
            !seen.all.contains_key(SECRET) && !seen.all.contains_key(EVIL),
            "{steps:?}: {seen:?}"
        );
        if steps.len() > 1 || matches!(steps[0], Step::Replace(_)) {
            assert_eq!(seen.all["own"], 1, "{steps:?}");
            assert_ne!(Some(victim.id()), thief.cookie(), "{steps:?}");
        }
    }
}

on_every_ground! {
    a_thief_who_regenerates_while_the_victim_signs_out_everywhere_keeps_nothing,
    a_thief_does_not_sign_in_again_under_a_session_that_was_ended_everywhere,
    leaving_the_owner_and_coming_back_does_not_sign_in_under_a_session_that_has_ended,
    a_sign_out_ends_the_session_under_the_id_that_a_thief_has_given_it,
    a_sign_out_ends_the_session_though_a_thief_regenerates_again_and_again,
    a_change_of_owner_ends_the_session_under_the_id_that_a_thief_has_given_it,
    a_sign_out_with_an_id_that_was_given_up_does_not_end_what_followed,
    a_request_in_flight_does_not_bring_a_session_back_that_was_signed_out,
    a_sign_out_ends_every_live_session_whose_cookie_came,
    an_id_that_was_given_up_does_not_keep_the_other_cookies_sessions_alive,
    a_flush_or_a_replacement_of_the_content_signs_out,
}
