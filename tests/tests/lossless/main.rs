//! Concurrent requests lose nothing, and nothing that was ended comes back.
//!
//! * [`histories`]: generated histories of concurrent requests, in controlled interleavings, against a model of the rules: [`script`] draws
//!   them, [`stage`] decides whose turn it is, [`driver`] is where it can be decided, [`play`] asks the library, and [`rules`] and [`model`]
//!   know what it has to say. They run over every driver of [`stores`].
//! * [`contention`]: many writers of one session on several threads, over every driver, and over a store that is far away.
//! * [`processes`]: the same from two processes, over every store that processes can share.
//! * [`exclusive`]: handlers that run one at a time.
//! * [`leases`]: how long they have the right to, and who has it where somebody was halted.
//! * [`owners`]: the end of all sessions of an owner.
//! * [`streams`]: tasks that outlive their response.
//! * [`updates`]: functions given to `update` that use their own session.

mod contention;
mod driver;
mod exclusive;
mod histories;
mod leases;
mod model;
mod owners;
mod play;
mod processes;
mod rules;
mod script;
mod stage;
mod stores;
mod streams;
mod updates;
mod world;
