//! What the file driver promises beyond the contract: processes, power over files, and what it leaves alone.

#[path = "file_driver/directory.rs"]
mod directory;
#[path = "file_driver/disk.rs"]
mod disk;
#[path = "file_driver/outside.rs"]
mod outside;
#[path = "file_driver/owners.rs"]
mod owners;
#[path = "file_driver/processes.rs"]
mod processes;
#[path = "file_driver/waiting.rs"]
mod waiting;
