//! The CSRF token of a session is known to nobody who knows an earlier id of it.

use std::time::Duration;

use crate::{ATTACKER, Ground, SECRET, Step, VICTIM, Visitor, on_every_ground, owner, put};

/// What the visitor's pages hold now.
async fn token(visitor: &Visitor) -> String {
    let seen = visitor.does(&[Step::Token, Step::Look]).await.seen();
    seen.token.expect("a step asked for it")
}

async fn planted(ground: &Ground) -> (Visitor, Visitor) {
    let (attacker, victim) = (ground.attacker(), ground.victim());
    attacker.does(&[put("cart", 1)]).await.gives_an_id();
    victim.take(&attacker.id());
    (attacker, victim)
}

fn sign_ins() -> [Vec<Step>; 4] {
    let sign_in = || vec![owner(VICTIM), put(SECRET, 7)];
    [
        [vec![Step::Token], sign_in()].concat(),
        [sign_in(), vec![Step::Token]].concat(),
        [vec![Step::Token, Step::Regenerate], sign_in()].concat(),
        [vec![Step::Token, Step::Save], sign_in()].concat(),
    ]
}

async fn assert_unknown(victim: &Visitor, known: &[String], steps: &[Step]) {
    assert!(
        !known.contains(&token(victim).await),
        "the attacker knows the token: {steps:?}"
    );
}

async fn a_token_that_came_with_the_planted_id_is_void_after_the_sign_in(ground: Ground) {
    for steps in sign_ins() {
        for has_token in [true, false] {
            let (attacker, victim) = planted(&ground).await;
            let mut known = Vec::new();
            if has_token {
                known.push(token(&attacker).await);
            }
            victim.does(&steps).await.gives_an_id();
            known.push(token(&attacker).await);
            assert_unknown(&victim, &known, &steps).await;
        }
    }
}

async fn a_token_of_an_id_that_was_given_up_is_void_after_the_sign_in(ground: Ground) {
    for steps in sign_ins() {
        let (attacker, victim) = planted(&ground).await;
        let planted = attacker.id();
        attacker.does(&[Step::Regenerate]).await.gives_an_id();
        let old = Visitor::of("old", ground.far.clone(), &planted);
        let known = [token(&old).await];
        victim.does(&steps).await.gives_an_id();
        assert_unknown(&victim, &known, &steps).await;
    }
}

async fn a_token_of_a_session_that_ended_meanwhile_is_void_after_the_sign_in(ground: Ground) {
    for steps in sign_ins() {
        for expires in [true, false] {
            let (attacker, victim) = planted(&ground).await;
            let known = [token(&attacker).await];
            let slow = victim.begins(&[&[Step::Wait], &steps[..]].concat()).await;
            match expires {
                true => ground.advance(Duration::from_secs(3 * 60 * 60)).await,
                false => drop(attacker.does(&[Step::Invalidate]).await),
            }
            slow.ends().await.gives_an_id();
            assert_unknown(&victim, &known, &steps).await;
        }
    }
}

async fn a_token_of_another_owners_session_is_void_after_the_sign_in(ground: Ground) {
    for steps in sign_ins() {
        for has_token in [true, false] {
            let (attacker, victim) = (ground.attacker(), ground.victim());
            attacker.does(&[owner(ATTACKER), put("cart", 1)]).await.gives_an_id();
            victim.take(&attacker.id());
            let mut known = Vec::new();
            if has_token {
                known.push(token(&attacker).await);
            }
            let slow = victim.begins(&[&[Step::Wait], &steps[..]].concat()).await;
            known.push(
                attacker
                    .does(&[Step::Token, Step::Look])
                    .await
                    .seen()
                    .token
                    .expect("it was asked for"),
            );
            slow.ends().await.gives_an_id();
            assert_unknown(&victim, &known, &steps).await;
        }
    }
}

on_every_ground! {
    a_token_that_came_with_the_planted_id_is_void_after_the_sign_in,
    a_token_of_an_id_that_was_given_up_is_void_after_the_sign_in,
    a_token_of_a_session_that_ended_meanwhile_is_void_after_the_sign_in,
    a_token_of_another_owners_session_is_void_after_the_sign_in,
}
