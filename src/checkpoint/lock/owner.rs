//! Who holds a lock, and whether it still runs.

use std::fs;

use serde::{Deserialize, Serialize};

/// Most characters of a name that are shown.
const MOST_SHOWN: usize = 100;

/// A process, as it stands in a lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Owner {
    /// Its machine, for people.
    pub host: String,
    /// Its number there.
    pub pid: u32,
    /// When it started, clock ticks after the machine did: numbers of processes come again.
    pub started: u64,
    /// Where that number means this process: a start of a machine, and a space of process numbers on it.
    pub machine: Option<String>,
    /// Job of the batch system.
    pub slurm_job: Option<String>,
    /// When the lock was made, ISO 8601.
    pub since: String,
    /// What no other lock has.
    pub token: String,
}

impl Owner {
    pub fn this_process() -> Self {
        let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
        let pid = std::process::id();
        let now = jiff::Timestamp::now();
        Self {
            host: host.unwrap_or_else(|| "an unnamed machine".to_owned()),
            pid,
            started: start_of(pid).unwrap_or_default(),
            machine: machine(),
            slurm_job: std::env::var("SLURM_JOB_ID").ok(),
            since: now.round(jiff::Unit::Second).unwrap_or(now).to_string(),
            token: format!("{:032x}", rand::random::<u128>()),
        }
    }

    pub fn to_text(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("texts and whole numbers are JSON")
    }

    /// `None` where the text is no owner's.
    pub fn from_text(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }

    /// Whether it runs; `None` where this machine can't tell.
    pub fn is_running(&self) -> Option<bool> {
        let here = self.machine.is_some() && self.machine == machine();
        here.then(|| start_of(self.pid) == Some(self.started))
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // anybody may have written it
        let shown = |text: &str| text.chars().filter(|c| !c.is_control()).take(MOST_SHOWN).collect::<String>();
        write!(f, "process {} on {} (", self.pid, shown(&self.host))?;
        if let Some(job) = &self.slurm_job {
            write!(f, "Slurm job {}, ", shown(job))?;
        }
        write!(f, "since {})", shown(&self.since))
    }
}

/// What two processes have in common whose numbers can be compared.
fn machine() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let numbers = fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{} {}", boot.trim(), numbers.display()))
}

/// When a process started, clock ticks after the machine did; `None` where there is none or it has ended already.
fn start_of(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // after the name, which may hold anything, in parentheses: the state, then fields 4 to 22
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let ended = matches!(fields.next()?, "Z" | "X");
    let started = fields.nth(18)?.parse().ok()?;
    (!ended).then_some(started)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_tells_processes_that_run_from_those_that_ended() {
        let this = Owner::this_process();
        assert_eq!(this.is_running(), Some(true));
        assert_eq!(Owner::from_text(&this.to_text()), Some(this.clone()));
        assert_ne!(Owner::this_process().token, this.token);
        assert_eq!(Owner { started: this.started + 1, ..this.clone() }.is_running(), Some(false));
        assert_eq!(Owner { machine: None, ..this.clone() }.is_running(), None);
        assert_eq!(Owner { machine: Some("elsewhere".into()), ..this.clone() }.is_running(), None);

        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let of_child = Owner { pid: child.id(), started: start_of(child.id()).unwrap(), ..this };
        assert_eq!(of_child.is_running(), Some(true));
        child.kill().unwrap();
        // killed, but its parent hasn't asked yet: the kernel still knows the number
        let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while of_child.is_running() == Some(true) && std::time::Instant::now() < end {
            std::thread::yield_now();
        }
        assert_eq!(of_child.is_running(), Some(false));
        child.wait().unwrap();
        assert_eq!(of_child.is_running(), Some(false));
    }
}
