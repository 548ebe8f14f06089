//! Moments as the table keeps them: milliseconds since 1970, rounded down, a number that means the same in every time zone.

use std::time::{Duration, SystemTime};

/// The whole milliseconds that have passed since 1970 at `time`; a negative number before.
///
/// Comparing what is rounded down is exact when the other side is whole: `time < whole` holds if and only if `floor(time) < whole`.
pub(super) fn to_millis(time: SystemTime) -> i64 {
    let (duration, negative) = match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => (after, false),
        Err(before) => (before.duration(), true),
    };
    let whole = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX - 1);
    match negative {
        false => whole,
        true if duration.subsec_nanos() % 1_000_000 == 0 => -whole,
        true => -whole - 1,
    }
}

/// The moment, if this machine can name it.
pub(super) fn from_millis(millis: i64) -> Option<SystemTime> {
    let duration = Duration::from_millis(millis.unsigned_abs());
    match millis < 0 {
        false => SystemTime::UNIX_EPOCH.checked_add(duration),
        true => SystemTime::UNIX_EPOCH.checked_sub(duration),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_rounded_down_before_1970_too() {
        let epoch = SystemTime::UNIX_EPOCH;
        for (time, millis) in [
            (epoch, 0),
            (epoch + Duration::from_nanos(999_999), 0),
            (epoch + Duration::from_nanos(1_000_000), 1),
            (epoch - Duration::from_nanos(1), -1),
            (epoch - Duration::from_nanos(1_000_000), -1),
            (epoch - Duration::from_nanos(1_000_001), -2),
        ] {
            assert_eq!(to_millis(time), millis, "{time:?}");
            let kept = from_millis(millis).expect("it is near 1970");
            assert!(kept <= time);
        }
    }

    #[test]
    fn what_a_damaged_row_says_is_no_panic() {
        for millis in [i64::MIN, i64::MAX] {
            let _ = from_millis(millis);
        }
    }
}
