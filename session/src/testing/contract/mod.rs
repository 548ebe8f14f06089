//! The contract of [`Driver`](crate::Driver), each sentence of which is a function here and a test of
//! [`driver_contract!`](crate::testing::driver_contract).
//!
//! The functions are called by the macro; what they check stands in their names and in the documentation of the trait. Like all
//! tests they panic when it does not hold.
#![allow(clippy::missing_panics_doc, reason = "it is how tests fail")]

mod abandoned;
mod collecting;
mod concurrent;
mod expiring;
mod keeping;
mod owners;
mod touching;
mod writing;

pub use abandoned::*;
pub use collecting::*;
pub use concurrent::*;
pub use expiring::*;
pub use keeping::*;
pub use owners::*;
pub use touching::*;
pub use writing::*;

/// Tests that a driver does what the documentation of [`Driver`](crate::Driver) says: one test per sentence.
///
/// * `mod name;` is the module the tests are put into; attributes before it are kept.
/// * `owners: true;` when the driver has an [`OwnerIndex`](crate::OwnerIndex): its tests are made as well. `owners: false;` when it
///   has none, which is tested too, so that nothing goes untested by accident.
/// * `harness: expression;` makes a driver over an empty store, for each test a new one, as a [`Harness`](crate::testing::Harness), which also says how
///   time passes. It may `.await`, and sees what the surrounding module sees.
///
/// The tests need no runtime of yours. Those of a store that keeps time itself take some seconds.
///
/// ```
/// use session_schema::testing::{Harness, driver_contract};
/// # use session_schema::MemoryDriver as MyDriver;
///
/// driver_contract! {
///     mod my_driver;
///     owners: true;
///     harness: Harness::new(MyDriver::new());
/// }
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! driver_contract {
    ($(#[$attribute:meta])* mod $name:ident; owners: $owners:ident; harness: $harness:expr;) => {
        $(#[$attribute])*
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            async fn harness() -> $crate::testing::Harness {
                $harness
            }

            $crate::__driver_contract_tests! { $owners }
        }
    };
}

/// The list of tests.
#[doc(hidden)]
#[macro_export]
macro_rules! __driver_contract_tests {
    (@tests $($test:ident)*) => {$(
        #[test]
        fn $test() {
            $crate::testing::run(harness(), $crate::testing::contract::$test);
        }
    )*};
    (@unopened $($test:ident)*) => {$(
        #[test]
        fn $test() {
            $crate::testing::run_unopened(harness, $crate::testing::contract::$test);
        }
    )*};
    (true) => {
        $crate::__driver_contract_tests! { @driver }
        $crate::__driver_contract_tests! { @owners }
    };
    (false) => {
        $crate::__driver_contract_tests! { @driver }
        $crate::__driver_contract_tests! { @tests a_driver_without_an_index_of_owners_has_none }
    };
    (@driver) => {
        $crate::__driver_contract_tests! { @tests
            opening_again_changes_nothing
            what_was_written_is_still_there_after_close
            an_absent_key_reads_as_nothing
            a_record_reads_back_as_it_was_written
            payloads_are_kept_byte_by_byte
            an_expiry_is_never_rounded_up
            the_latest_expiry_there_is_can_be_kept
            a_key_has_one_record_at_most
            keys_are_compared_byte_by_byte
            what_happens_to_one_record_touches_no_other
            destroying_says_whether_there_was_a_record
            a_fresh_read_says_what_is_in_the_store_now
            a_pointer_to_the_driver_is_the_driver
            creating_what_is_there_changes_nothing_and_conflicts
            a_write_on_the_version_that_is_there_replaces_all_of_it
            done_names_the_version_that_is_read_afterwards
            the_version_of_a_record_that_is_written_counts_for_nothing
            a_write_on_an_old_version_changes_nothing_and_conflicts
            a_destroyed_session_stays_destroyed
            a_write_on_a_version_of_nothing_is_gone
            no_version_comes_back
            a_record_that_was_made_again_is_not_taken_for_the_one_before
            a_record_that_expires_in_the_past_is_taken_and_absent_at_once
            a_touch_moves_the_expiry_and_nothing_else
            a_touch_conflicts_with_no_write
            a_touched_record_outlives_its_first_expiry
            a_touch_can_shorten_a_life
            a_touch_into_the_past_ends_the_record
            a_touch_of_nothing_creates_nothing
            an_expired_record_reads_as_nothing_however_it_was_written
            a_record_expires_at_the_moment_it_says
            an_expired_record_makes_room_for_a_new_one
            a_write_on_an_expired_record_is_gone
            a_touch_does_not_revive_an_expired_record
            destroying_an_expired_record_finds_nothing
            a_record_made_after_one_that_expired_is_not_taken_for_it
            every_record_has_a_lifetime_of_its_own
            gc_removes_what_has_expired_and_nothing_else
            gc_agrees_with_read_on_when_a_record_has_expired
            gc_of_an_empty_store_removes_nothing
            gc_removes_many
            gc_spares_what_takes_the_place_of_an_expired_record
            of_many_creators_one_wins
            of_many_writers_on_one_version_one_wins
            concurrent_increments_all_count
            a_reader_sees_the_old_record_or_the_new_one
            a_write_at_the_same_time_brings_nothing_back
            a_touch_at_the_same_time_brings_nothing_back
            a_touch_at_the_same_time_undoes_no_write
            an_abandoned_write_is_done_or_not
            an_abandoned_creation_is_done_or_not
            an_abandoned_touch_or_destruction_is_done_or_not
        }
        $crate::__driver_contract_tests! { @unopened
            an_abandoned_open_is_done_or_not
        }
    };
    (@owners) => {
        $crate::__driver_contract_tests! { @tests
            who_has_no_sessions_has_none
            an_owner_has_the_sessions_that_name_it
            owners_are_compared_byte_by_byte
            an_owner_with_a_nul_is_kept_or_refused
            a_session_changes_hands_with_a_write
            a_write_that_conflicts_changes_no_owner
            an_expired_session_is_nobodys
            a_touched_session_stays_its_owners
            a_destroyed_session_is_nobodys
            a_session_made_after_one_that_expired_is_not_its_owners
            logging_out_everywhere_else_spares_this_session_and_those_of_others
            no_session_of_an_owner_is_overlooked_while_others_come_and_go
            no_session_of_an_owner_is_overlooked_while_it_is_rewritten
            a_write_at_the_same_time_brings_no_session_of_an_owner_back
            an_exception_that_is_anothers_spares_nothing
        }
    };
    ($other:ident) => {
        ::core::compile_error!(::core::concat!(
            "`owners: ", ::core::stringify!($other), ";` is neither `owners: true;` nor `owners: false;`"
        ));
    };
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_sentence_is_in_the_list() {
        // STORE-41
        let sources = [
            include_str!("abandoned.rs"),
            include_str!("collecting.rs"),
            include_str!("concurrent.rs"),
            include_str!("expiring.rs"),
            include_str!("keeping.rs"),
            include_str!("owners.rs"),
            include_str!("touching.rs"),
            include_str!("writing.rs"),
        ];
        let list = include_str!("mod.rs");
        let mut count = 0;
        for line in sources.iter().flat_map(|source| source.lines()) {
            if let Some(rest) = line.strip_prefix("pub async fn ") {
                let name = rest.split(['(', '<']).next().unwrap();
                assert!(
                    list.split_whitespace().any(|word| word == name),
                    "`{name}` is not in the list"
                );
                count += 1;
            }
        }
        assert!(count > 50, "only {count} sentences were found");
    }
}
