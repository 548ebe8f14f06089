//! A shared computer: what belonged to one user does not come to another, or to nobody.

use crate::{ATTACKER, Ground, SECRET, Step, VICTIM, Visitor, on_every_ground, owner, put};

const A_MONTH: u64 = 30 * 24 * 60 * 60;

/// The victim has signed in, asked to be remembered, and left.
async fn left_signed_in(ground: &Ground) -> Visitor {
    let browser = ground.victim();
    let steps = [
        owner(VICTIM),
        put(SECRET, 7),
        put("color", "green"),
        Step::Lifetime(A_MONTH),
        Step::Token,
    ];
    browser.does(&steps).await.gives_an_id();
    browser
}

async fn token(visitor: &Visitor) -> Option<String> {
    visitor.does(&[Step::Token, Step::Look]).await.seen().token
}

fn max_age(cookie: Option<&str>) -> Option<u64> {
    let attributes = cookie?.split("; ");
    attributes
        .filter_map(|attribute| attribute.strip_prefix("Max-Age=")?.parse().ok())
        .next()
}

async fn nothing_of_a_user_comes_to_the_next_one_who_signs_in(ground: Ground) {
    let own = || put("own", 1);
    for steps in [
        vec![owner(ATTACKER), own()],
        vec![own(), owner(ATTACKER)],
        vec![own(), Step::Regenerate, owner(ATTACKER)],
        vec![own(), owner(ATTACKER), Step::Regenerate],
        vec![own(), Step::Save, owner(ATTACKER), own()],
        vec![owner(ATTACKER), Step::Save, own()],
    ] {
        let browser = left_signed_in(&ground).await;
        let (old, of_the_first) = (browser.id(), token(&browser).await);
        let answer = browser.does(&steps).await;
        answer.gives_an_id();
        assert_eq!(
            max_age(answer.set_cookie.as_deref()),
            Some(7200),
            "the second one has not asked to be remembered"
        );
        let seen = browser.sees().await;
        assert_eq!(seen.owner.as_deref(), Some(ATTACKER));
        assert_eq!(seen.all.keys().collect::<Vec<_>>(), ["own"], "{steps:?}");
        assert_ne!(token(&browser).await, of_the_first);
        let left = ground.stored(&old).await;
        assert!(left.owner.is_none() && left.all.is_empty(), "{left:?}");
    }
}

async fn an_equal_value_that_the_next_user_puts_is_theirs(ground: Ground) {
    for steps in [
        vec![put("color", "green"), owner(ATTACKER)],
        vec![owner(ATTACKER), put("color", "green")],
    ] {
        let browser = left_signed_in(&ground).await;
        browser.does(&steps).await.gives_an_id();
        let seen = browser.sees().await;
        assert_eq!((seen.all.len(), &seen.all["color"]), (1, &"green".into()), "{steps:?}");
    }
}

async fn nothing_of_a_user_is_left_to_a_guest(ground: Ground) {
    for steps in [
        vec![Step::Owner(None), put("own", 1)],
        vec![put("own", 1), Step::Owner(None)],
        vec![put("own", 1), Step::Regenerate, Step::Owner(None)],
    ] {
        let browser = left_signed_in(&ground).await;
        let old = browser.id();
        browser.does(&steps).await.gives_an_id();
        let seen = browser.sees().await;
        assert_eq!(
            (seen.owner, seen.all.len(), &seen.all["own"]),
            (None, 1, &1.into()),
            "{steps:?}"
        );
        let left = ground.stored(&old).await;
        assert!(left.owner.is_none() && left.all.is_empty(), "{left:?}");
    }
    let browser = left_signed_in(&ground).await;
    let old = browser.id();
    browser.does(&[Step::Owner(None)]).await;
    assert_eq!(ground.stored(&old).await.owner, None);
    assert!(browser.sees().await.all.is_empty());
}

async fn what_a_user_has_in_flight_does_not_come_to_the_next_one(ground: Ground) {
    let browser = left_signed_in(&ground).await;
    let mut slow = Vec::new();
    for steps in [
        vec![Step::Wait, put("late", 1)],
        vec![Step::Wait, put("late", 1), Step::Save, Step::Look],
        vec![Step::Wait, Step::Regenerate, put("late", 1)],
        vec![Step::Wait, owner(VICTIM), put("late", 1), Step::Regenerate],
        vec![Step::Wait, Step::Lifetime(60)],
    ] {
        slow.push(browser.begins(&steps).await);
    }
    browser.does(&[owner(ATTACKER), put("own", 1)]).await.gives_an_id();
    for slow in slow {
        assert_eq!(slow.ends().await.set_cookie, None);
    }
    let seen = browser.sees().await;
    assert_eq!((seen.owner.as_deref(), seen.all.len()), (Some(ATTACKER), 1));
}

async fn a_sign_in_keeps_what_a_guest_had_and_gives_a_new_id_by_itself(ground: Ground) {
    let browser = ground.victim();
    browser.does(&[put("cart", 1), Step::Token]).await.gives_an_id();
    let (old, of_the_guest) = (browser.id(), token(&browser).await);
    browser.does(&[owner(VICTIM)]).await.gives_an_id();
    assert_ne!(browser.id(), old);
    let seen = browser.sees().await;
    assert_eq!((seen.owner.as_deref(), &seen.all["cart"]), (Some(VICTIM), &1.into()));
    assert_ne!(token(&browser).await, of_the_guest, "a new id has a new token");
    assert!(ground.stored(&old).await.all.is_empty());
}

async fn the_same_owner_again_is_no_sign_in(ground: Ground) {
    let browser = left_signed_in(&ground).await;
    let id = browser.id();
    browser.does(&[owner(VICTIM), put("more", 1)]).await.is_silent(200);
    browser.does(&[owner(VICTIM)]).await.is_silent(200);
    assert_eq!(browser.id(), id);
    let seen = browser.sees().await;
    assert_eq!(
        (seen.owner.as_deref(), &seen.all[SECRET], &seen.all["more"]),
        (Some(VICTIM), &7.into(), &1.into())
    );
}

on_every_ground! {
    nothing_of_a_user_comes_to_the_next_one_who_signs_in,
    an_equal_value_that_the_next_user_puts_is_theirs,
    nothing_of_a_user_is_left_to_a_guest,
    what_a_user_has_in_flight_does_not_come_to_the_next_one,
    a_sign_in_keeps_what_a_guest_had_and_gives_a_new_id_by_itself,
    the_same_owner_again_is_no_sign_in,
}
