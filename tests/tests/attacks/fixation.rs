//! The attacker plants an id, and the victim signs in under it.

use crate::{ATTACKER, EVIL, Ground, SECRET, Step, VICTIM, Visitor, on_every_ground, owner, put};

/// What the attacker does under the planted id.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Move {
    Puts,
    Regenerates,
    Invalidates,
    SignsIn,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum When {
    BeforeTheRequest,
    DuringTheRequest,
    AfterTheSignIn,
}

/// How the victim's application signs somebody in.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Manner {
    OwnerAlone,
    RegenerateFirst,
    RegenerateLast,
    InvalidateFirst,
}

/// When the victim's request saves for the first time.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Save {
    AtTheEnd,
    BeforeTheMove,
    AfterTheMove,
    /// The sign-in itself is saved before the move; the response goes after it.
    TheSignIn,
}

/// One order of events.
#[derive(Clone, Copy, Debug)]
struct Order {
    does: Move,
    when: When,
    manner: Manner,
    save: Save,
    /// The response to the sign-in never arrives, and the browser comes again with the planted id.
    is_lost: bool,
}

const MOVES: [Move; 4] = [Move::Puts, Move::Regenerates, Move::Invalidates, Move::SignsIn];
const WHENS: [When; 3] = [When::BeforeTheRequest, When::DuringTheRequest, When::AfterTheSignIn];
const MANNERS: [Manner; 4] = [
    Manner::OwnerAlone,
    Manner::RegenerateFirst,
    Manner::RegenerateLast,
    Manner::InvalidateFirst,
];
const SAVES: [Save; 4] = [Save::AtTheEnd, Save::BeforeTheMove, Save::AfterTheMove, Save::TheSignIn];

fn orders() -> impl Iterator<Item = Order> {
    let all = MOVES.len() * WHENS.len() * MANNERS.len() * SAVES.len() * 2;
    (0..all).map(|number| Order {
        does: MOVES[number % 4],
        when: WHENS[number / 4 % 3],
        manner: MANNERS[number / 12 % 4],
        save: SAVES[number / 48 % 4],
        is_lost: number / 192 == 1,
    })
}

impl Manner {
    fn steps(self) -> Vec<Step> {
        let mut steps = vec![owner(VICTIM), put(SECRET, 7)];
        match self {
            Self::OwnerAlone => {}
            Self::RegenerateFirst => steps.insert(0, Step::Regenerate),
            Self::RegenerateLast => steps.push(Step::Regenerate),
            Self::InvalidateFirst => steps.insert(0, Step::Invalidate),
        }
        steps
    }
}

impl Order {
    async fn move_of(self, attacker: &Visitor) {
        let is_signed_in = self.when == When::AfterTheSignIn || self.save == Save::TheSignIn;
        // Before the sign-in the session is a guest's, whose data it keeps.
        let key = match is_signed_in && self.when != When::BeforeTheRequest {
            true => EVIL,
            false => "cart",
        };
        let steps = match self.does {
            Move::Puts => vec![put(key, "the attacker's")],
            Move::Regenerates => vec![put(key, "the attacker's"), Step::Regenerate],
            Move::Invalidates => vec![Step::Invalidate, put(EVIL, 1)],
            Move::SignsIn => vec![owner(ATTACKER), put(EVIL, 1)],
        };
        attacker.does(&steps).await;
    }

    fn steps(self) -> Vec<Step> {
        let early = [put("page", 1), Step::Save];
        let manner = self.manner.steps();
        let (mut before, after) = match self.save {
            Save::AtTheEnd => (Vec::new(), manner),
            Save::BeforeTheMove => (early.to_vec(), manner),
            Save::AfterTheMove => (Vec::new(), [&early[..], &manner[..]].concat()),
            Save::TheSignIn => ([&manner[..], &[Step::Save]].concat(), Vec::new()),
        };
        before.push(Step::Wait);
        before.extend(after);
        before
    }

    async fn play(self, ground: &Ground) {
        println!("{self:?}");
        let (attacker, victim) = (ground.attacker(), ground.victim());
        attacker.does(&[put("cart", "planted")]).await;
        victim.take(&attacker.id());
        if self.when == When::BeforeTheRequest {
            self.move_of(&attacker).await;
        }
        let request = victim.begins(&self.steps()).await;
        if self.when == When::DuringTheRequest {
            self.move_of(&attacker).await;
        }
        let answer = match self.is_lost {
            false => request.ends().await,
            true => request.ends_unheard().await,
        };
        assert_eq!(answer.status, 200, "a sign-in counts whatever others do: {answer:?}");
        if self.when == When::AfterTheSignIn {
            self.move_of(&attacker).await;
        }
        if self.is_lost {
            assert_ne!(
                victim.sees().await.owner.as_deref(),
                Some(VICTIM),
                "the planted id works"
            );
            victim.does(&self.manner.steps()).await.gives_an_id();
        }
        ground.assert_safe(&attacker, &victim).await;
        let seen = victim.sees().await;
        assert_eq!(
            seen.owner.as_deref(),
            Some(VICTIM),
            "the victim was told \"Welcome\": {answer:?}"
        );
        assert!(seen.all.contains_key(SECRET), "{seen:?}");
    }
}

async fn no_order_of_plant_move_and_sign_in_gives_the_attacker_the_victims_session(ground: Ground) {
    // A prime number, so that every pair of choices comes up.
    for order in orders().step_by(7) {
        order.play(&ground).await;
    }
}

async fn no_id_that_is_planted_over_a_signed_in_one_signs_the_victim_in_elsewhere(ground: Ground) {
    // The cookie is planted when the victim has signed in, and the victim goes on under it.
    let (attacker, victim) = (ground.attacker(), ground.victim());
    victim.does(&[owner(VICTIM), put(SECRET, 7)]).await.gives_an_id();
    attacker.does(&[put("cart", "planted")]).await;
    victim.take(&attacker.id());
    let request = victim.begins(&[Step::Wait, owner(VICTIM), put(SECRET, 8)]).await;
    attacker.does(&[Step::Regenerate]).await.gives_an_id();
    request.ends().await.gives_an_id();
    ground.assert_safe(&attacker, &victim).await;
    assert_eq!(victim.sees().await.owner.as_deref(), Some(VICTIM));
}

async fn an_account_that_is_planted_does_not_receive_the_victims_sign_in(ground: Ground) {
    // The planted id is that of the attacker, who is signed in and gives it away.
    for does in [
        vec![],
        vec![Step::Regenerate],
        vec![Step::Invalidate],
        vec![put(EVIL, 2)],
    ] {
        let (attacker, victim) = (ground.attacker(), ground.victim());
        attacker.does(&[owner(ATTACKER), put(EVIL, 1)]).await.gives_an_id();
        victim.take(&attacker.id());
        let request = victim.begins(&[Step::Wait, owner(VICTIM), put(SECRET, 7)]).await;
        attacker.does(&does).await;
        request.ends().await.gives_an_id();
        ground.assert_safe(&attacker, &victim).await;
        let seen = victim.sees().await;
        assert_eq!((seen.owner.as_deref(), seen.all.len()), (Some(VICTIM), 1), "{seen:?}");
    }
}

async fn a_sign_in_is_kept_whatever_another_tab_does_under_the_planted_id(ground: Ground) {
    for does in [Step::Regenerate, Step::Invalidate, put("cart", 1), owner(ATTACKER)] {
        for manner in MANNERS {
            let (attacker, victim) = (ground.attacker(), ground.victim());
            attacker.does(&[put("cart", "planted")]).await;
            victim.take(&attacker.id());
            let steps = [&[Step::Wait], &manner.steps()[..]].concat();
            let request = victim.begins(&steps).await;
            victim.does(std::slice::from_ref(&does)).await;
            request.ends().await.gives_an_id();
            ground.assert_safe(&attacker, &victim).await;
            assert_eq!(
                victim.sees().await.owner.as_deref(),
                Some(VICTIM),
                "{does:?} {manner:?}"
            );
        }
    }
}

async fn of_two_sign_ins_at_once_under_a_planted_id_each_gets_a_session_of_its_own(ground: Ground) {
    for attacker_is_first in [true, false] {
        let (attacker, victim) = (ground.attacker(), ground.victim());
        attacker.does(&[put("cart", "planted")]).await;
        victim.take(&attacker.id());
        let of_victim = victim.begins(&[Step::Wait, owner(VICTIM), put(SECRET, 7)]).await;
        let of_attacker = attacker.begins(&[Step::Wait, owner(ATTACKER), put(EVIL, 7)]).await;
        if attacker_is_first {
            of_attacker.ends().await.gives_an_id();
            of_victim.ends().await.gives_an_id();
        } else {
            of_victim.ends().await.gives_an_id();
            of_attacker.ends().await.gives_an_id();
        }
        ground.assert_safe(&attacker, &victim).await;
        let (theirs, own) = (attacker.sees().await, victim.sees().await);
        assert_eq!(
            (theirs.owner.as_deref(), own.owner.as_deref()),
            (Some(ATTACKER), Some(VICTIM))
        );
        assert_eq!(own.all["cart"], "planted", "what a guest had is kept");
    }
}

async fn a_double_click_on_sign_in_signs_in(ground: Ground) {
    let victim = ground.victim();
    victim.does(&[put("cart", 1)]).await;
    let sign_in = [Step::Wait, owner(VICTIM), put(SECRET, 7)];
    let first = victim.begins(&sign_in).await;
    let second = victim.begins(&sign_in).await;
    first.ends_unheard().await.gives_an_id();
    second.ends().await.gives_an_id();
    let seen = victim.sees().await;
    assert_eq!((seen.owner.as_deref(), &seen.all["cart"]), (Some(VICTIM), &1.into()));
}

on_every_ground! {
    no_order_of_plant_move_and_sign_in_gives_the_attacker_the_victims_session,
    no_id_that_is_planted_over_a_signed_in_one_signs_the_victim_in_elsewhere,
    an_account_that_is_planted_does_not_receive_the_victims_sign_in,
    a_sign_in_is_kept_whatever_another_tab_does_under_the_planted_id,
    of_two_sign_ins_at_once_under_a_planted_id_each_gets_a_session_of_its_own,
    a_double_click_on_sign_in_signs_in,
}

#[tokio::test]
async fn no_order_at_all_gives_the_attacker_the_victims_session() {
    let ground = Ground::shared("memory").await;
    for order in orders() {
        order.play(&ground).await;
    }
}
