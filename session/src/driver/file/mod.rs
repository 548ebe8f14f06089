//! Sessions in a directory, shared by the processes of one machine.
//!
//! * `name.rs`: which file a key's record is in.
//! * `format.rs`: what stands in it.
//! * `folder.rs`: files come into being whole, or not at all.
//! * `locked.rs`: one writer per record, across processes.
//! * `files.rs`: what a driver does, in blocking calls over the former.
//! * `owners.rs`: which sessions an owner may have.
//! * `walk.rs`: all files, a batch at a time.
//! * `driver.rs`: the same as a [`Driver`](crate::Driver), away from the threads that serve requests.

mod driver;
mod error;
mod files;
mod folder;
mod format;
mod locked;
mod name;
mod owners;
mod walk;

pub use driver::FileDriver;
