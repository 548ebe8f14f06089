//! Sessions in the memory of this process.

mod driver;
mod hash;
mod shard;

pub use driver::MemoryDriver;
