//! Runs on a small disk, mounted where nobody else sees it.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{Outcome, PROGRAM, alone_with_files, other};

/// Options of `unshare` with which this user may mount; `None`, with a line that says so, where there are none.
pub fn unshare() -> Option<&'static [&'static str]> {
    // root needs no namespace of users; others may be allowed one
    let options = [&["--mount"][..], &["--user", "--map-root-user", "--mount"]].into_iter().find(|options| {
        let mut probe = Command::new("unshare");
        probe.args(*options).args(["sh", "-c", "mount -t tmpfs -o size=4k tmpfs /proc"]);
        alone_with_files(|| probe.stderr(Stdio::null()).status()).is_ok_and(|s| s.success())
    });
    if options.is_none() {
        println!("skipped: this user may not mount");
    }
    options
}

/// The program on a disk of its own of `kilobytes`, mounted at `disk` and filled from `seed`; what is on it in the end
/// goes to `after`. `None` where this user may not mount.
pub fn on_small_disk(folder: &Path, kilobytes: usize, arguments: &[&str]) -> Option<Outcome> {
    const MOUNT: &str = "mount -t tmpfs -o size=${1}k tmpfs disk && shift && cp -a seed/. disk/";
    let unshare = unshare()?;
    for name in ["disk", "seed", "after"] {
        fs::create_dir_all(folder.join(name)).unwrap();
    }
    let script = format!("{MOUNT} && {{ \"$@\"; code=$?; cp -a disk/. after/; exit $code; }}");
    let mut command = Command::new("unshare");
    command.args(unshare).args(["sh", "-c", &script, "sh", &kilobytes.to_string(), PROGRAM]).args(arguments);
    Some(other(folder, command).outcome())
}
