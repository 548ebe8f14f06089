//! A disk that can be full.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::is_root;

/// A file system in memory, mounted for one test and unmounted with this.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

/// What mount points begin with.
const BEGIN: &str = "session-tests-disk-";

impl SmallDisk {
    /// A disk of so many bytes.
    ///
    /// # Panics
    ///
    /// When this user may not mount one, neither as root nor by `sudo` without a password. What a full disk does cannot be shown then.
    pub fn new(bytes: u64) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        unmount_what_was_left();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let place = std::env::temp_dir().join(format!("{BEGIN}{}-{number}", std::process::id()));
        fs::create_dir(&place).expect("a folder can be made");
        // World-writable as `/tmp` is: the tests need not be root.
        let options = format!("size={bytes},mode=1777");
        let place_text = place.to_str().expect("the path is text");
        let mounted = privileged("mount", &["-t", "tmpfs", "-o", &options, "tmpfs", place_text]);
        assert!(
            mounted,
            "this test fills a disk and has to mount a small one: run the tests as root or as a user who may `sudo` without a password"
        );
        Self(place)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Leaves not one byte of room.
    ///
    /// # Panics
    ///
    /// When it cannot be written to at all.
    pub fn fill(&self) {
        let mut ballast = File::create(self.ballast()).expect("a file can be made");
        for piece in [4096, 1] {
            while ballast.write_all(&vec![0; piece]).is_ok() {}
        }
    }

    /// Makes room again.
    ///
    /// # Panics
    ///
    /// When it was not filled.
    pub fn make_room(&self) {
        fs::remove_file(self.ballast()).expect("it was filled");
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        unmount(&self.0);
    }
}

fn unmount(place: &Path) {
    // Lazily: a file may still be open for a moment.
    privileged("umount", &["-l", place.to_str().unwrap_or_default()]);
    let _ = fs::remove_dir(place);
}

/// Those of processes that were killed.
fn unmount_what_was_left() {
    for entry in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let process = name.strip_prefix(BEGIN).and_then(|rest| rest.split('-').next());
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            unmount(&entry.path());
        }
    }
}

fn privileged(program: &str, arguments: &[&str]) -> bool {
    let mut command = match is_root() {
        true => Command::new(program),
        false => {
            let mut sudo = Command::new("sudo");
            sudo.arg("-n").arg(program);
            sudo
        }
    };
    command.args(arguments).status().is_ok_and(|status| status.success())
}
