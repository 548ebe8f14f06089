//! Concurrent requests lose nothing.
//!
//! * [`histories`]: generated histories of concurrent requests, in controlled interleavings, against a model of the rules.

mod contention;
mod driver;
mod exclusive;
mod histories;
mod model;
mod play;
mod rules;
mod script;
mod stage;
mod streams;
mod world;
