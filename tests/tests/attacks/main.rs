//! What somebody can do who knows a visitor's session id, or has planted it: everything that is tried here must fail.
//!
//! * [`fixation`]: an id is planted before a sign-in; attacker and victim do what they can in all orders.
//! * [`across`]: requests that are in flight while somebody signs in, in both directions.
//! * [`new_ids`]: two requests that ask for a new id at once.
//! * [`endings`]: who ends which session, and what comes back.
//! * [`responses`]: responses that are lost, late, or followed by a task that goes on.
//! * [`changes_of_owner`]: what belonged to one user does not come to another.
//! * [`tokens`]: CSRF tokens that somebody knows who knows an earlier id.
//! * [`caches`]: an application whose cache still has what has been given up.
//!
//! A [`Ground`] is a store with the applications over it, which serve over TCP; in the modules `two_*` victim and attacker use different processes.
//! Handlers stop at gates, so each test is one order of events.

mod across;
mod caches;
mod changes_of_owner;
mod endings;
mod fixation;
mod ground;
mod new_ids;
mod responses;
mod tokens;
mod visitor;

pub(crate) use ground::{ATTACKER, EVIL, Ground, SECRET, VICTIM, owner, put};
pub(crate) use session_tests::stepwise::{Done, Step};
pub(crate) use visitor::Visitor;

/// Runs tests that take a [`Ground`] over every store: with one application for both visitors, and with a process for each.
#[macro_export]
macro_rules! on_every_ground {
    ($($test:ident),* $(,)?) => {
        $crate::on_every_ground! {
            @grounds [$($test),*];
            memory shared "memory", file shared "file", sqlite shared "sqlite", postgres shared "postgres", redis shared "redis",
            cached shared "cached redis", two_over_files divided "file", two_over_sqlite divided "sqlite",
            two_over_postgres divided "postgres", two_over_redis divided "redis", two_with_caches divided "cached redis",
            two_with_stale_caches divided "stale redis"
        }
    };
    (@grounds $tests:tt; $($module:ident $apart:ident $driver:literal),*) => {
        $($crate::on_every_ground! { @ground $tests; $module $apart $driver })*
    };
    (@ground [$($test:ident),*]; $module:ident $apart:ident $driver:literal) => {
        mod $module {
            $(#[tokio::test]
            async fn $test() {
                super::$test($crate::Ground::$apart($driver).await).await;
            })*
        }
    };
}
