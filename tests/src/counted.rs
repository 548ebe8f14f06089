//! Records that count, and show when they are not whole.

use std::time::SystemTime;

use session_schema::Record;

/// Long enough to be written in several pieces, if it were.
const FILL: usize = 40_000;

/// The record number `count`.
pub fn counted(count: u64, expires_at: SystemTime) -> Record {
    let fill = "x".repeat(FILL + count as usize % 1_000);
    let payload = format!("{{\"count\":{count},\"fill\":\"{fill}\",\"again\":{count}}}");
    Record::new(payload.into_bytes(), expires_at)
}

/// The number of a record.
///
/// # Errors
///
/// When it is not, to the byte, what [`counted`] makes.
pub fn count_of(record: &Record) -> Result<u64, &'static str> {
    let text = str::from_utf8(record.payload()).map_err(|_| "the payload is not text")?;
    let count = text
        .strip_prefix("{\"count\":")
        .and_then(|rest| rest.split(',').next())
        .and_then(|count| count.parse().ok())
        .ok_or("the payload does not begin with a count")?;
    match counted(count, record.expires_at()).payload() == record.payload() {
        true => Ok(count),
        false => Err("the payload is not whole"),
    }
}
