//! Records the commit that is being built, where there is one to ask.

use std::process::Command;

/// What git says, if it says anything.
fn git(arguments: &[&str]) -> Option<String> {
    let out = Command::new("git").args(arguments).output().ok().filter(|out| out.status.success())?;
    Some(String::from_utf8(out.stdout).ok()?.trim().to_string())
}

fn main() {
    let commit = git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "unknown".to_string());
    println!("cargo:rustc-env=HOMODYNE_GIT_COMMIT={commit}");
    // a path that isn't there would start every build over, and in a work tree .git is a file
    for of in ["HEAD", "refs/heads"] {
        if let Some(path) = git(&["rev-parse", "--git-path", of]) {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    println!("cargo:rerun-if-changed=build.rs");
}
