//! What the tests share.
//!
//! * [`Site`]: an application over a real driver, with a clock that is set by hand, a count of all driver calls, and faults on demand.
//! * [`App`] and [`Browser`]: requests through the real layer and router, by clients that keep cookies as browsers do.
//! * [`signed_in`], [`user`] and so on: what most visitors do.
//! * [`all_changes`]: everything that changes a session.
//! * [`on_every_driver!`]: a test once for each driver.
//! * [`stepwise`]: an application that does what requests say step by step, in this process or in another one.
//! * [`Log`]: what the library told operators.
//! * [`servers`], [`processes`]: the real servers, and processes that share a store.

#![expect(clippy::missing_panics_doc, reason = "what tests share panics where a test would")]

mod app;
mod at_hand;
mod browser;
mod changes;
pub mod counted;
mod counting;
mod faults;
mod log;
pub mod processes;
pub mod servers;
mod site;
pub mod stepwise;
mod tables;
mod visitor;

pub use app::{App, Visit};
pub use browser::{Browser, SetCookie, Slow};
pub use changes::{ACCESSOR_CHANGES, CHANGES, Change, TYPED_CHANGES, all_changes};
pub use counting::{Calls, CountingDriver, Counts};
pub use faults::{Call, Faults, FaultyDriver, Held, SECRET_DETAIL};
pub use log::{Entry, Log};
pub use site::{Backing, Site, key, some_id};
pub use visitor::{assert_silent, invalidate, regenerate, signed_in, user};

/// Runs tests that take a [`Site`] once for each driver. They are functions, listed below their file's last one:
///
/// ```
/// use session_tests::{Site, on_every_driver};
///
/// async fn a_site_has_an_application(site: Site) {
///     site.app();
/// }
///
/// on_every_driver! { a_site_has_an_application }
/// ```
///
/// `on_every_driver! { in_parallel: ... }` runs them on several threads, and `on_every_driver! { everywhere: ... }` does so over a cluster, behind a cache
/// and in a store of tower-sessions too.
#[macro_export]
macro_rules! on_every_driver {
    (everywhere: $($test:ident),* $(,)?) => {
        $crate::on_every_driver! { in_parallel: $($test),* }
        $crate::on_every_driver! {
            @drivers tokio::test(flavor = "multi_thread", worker_threads = 4); [$($test),*];
            cluster_in_parallel Cluster, cached_in_parallel Cached, tower_sessions_in_parallel TowerSessions
        }
    };
    (in_parallel: $($test:ident),* $(,)?) => {
        $crate::on_every_driver! {
            @drivers tokio::test(flavor = "multi_thread", worker_threads = 4); [$($test),*];
            memory_in_parallel Memory, at_hand_in_parallel AtHand, file_in_parallel File, sqlite_in_parallel Sqlite, postgres_in_parallel Postgres,
            mysql_in_parallel MySql, redis_in_parallel Redis
        }
    };
    (@drivers $attribute:meta; $tests:tt; $($module:ident $backing:ident),*) => {
        $($crate::on_every_driver! { @driver $attribute; $tests; $module $backing })*
    };
    (@driver $attribute:meta; [$($test:ident),*]; $module:ident $backing:ident) => {
        mod $module {
            $(#[$attribute]
            async fn $test() {
                super::$test($crate::Site::over($crate::Backing::$backing)).await;
            })*
        }
    };
    ($($test:ident),* $(,)?) => {
        $crate::on_every_driver! {
            @drivers tokio::test; [$($test),*];
            memory Memory, at_hand AtHand, file File, sqlite Sqlite, postgres Postgres, mysql MySql, redis Redis
        }
    };
}
