//! Signals that ask a run to save what it has and stop: SIGTERM, SIGINT, SIGUSR1, SIGUSR2, SIGHUP (the terminal is closed) and
//! SIGXCPU (the limit on the time of the processor is near).
//!
//! A handler does no more than note the signal. Every rank sends its note along with the sums of a pass, so it is enough to
//! signal one of them. A second SIGINT ends the process at once.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU};
use signal_hook::flag;

use crate::{Error, Result, signals};

/// What shells make of a process that SIGINT ended.
const INTERRUPTED: i32 = 128 + SIGINT;

/// Signals caught, with their names.
const CAUGHT: [(i32, &str); 6] = [
    (SIGTERM, "SIGTERM"),
    (SIGINT, "SIGINT"),
    (SIGUSR1, "SIGUSR1"),
    (SIGUSR2, "SIGUSR2"),
    (SIGHUP, "SIGHUP"),
    (SIGXCPU, "SIGXCPU"),
];

/// The signals that came to this process.
#[derive(Debug, Default)]
pub(super) struct Interrupts {
    last: Arc<AtomicUsize>,
}

impl Interrupts {
    /// Catches them from now on, but for a SIGHUP that `nohup` wants to be ignored.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn install(rank: usize) -> Result<Self> {
        let (last, again) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let refused = |e: std::io::Error| Error::Rank { rank, message: format!("cannot catch signals: {e}") };
        // the order matters: the first SIGINT arms what the second one meets
        flag::register_conditional_shutdown(SIGINT, INTERRUPTED, Arc::clone(&again)).map_err(refused)?;
        flag::register(SIGINT, again).map_err(refused)?;
        for (signal, _) in CAUGHT.into_iter().filter(|&(signal, _)| signal != SIGHUP || !signals::is_ignored(SIGHUP)) {
            flag::register_usize(signal, Arc::clone(&last), signal as usize).map_err(refused)?;
        }
        Ok(Self { last })
    }

    /// The number of the last signal; 0 where none came.
    pub fn pending(&self) -> u8 {
        self.last.load(Ordering::Relaxed) as u8
    }
}

/// The signals that came to any rank, as rank 0 knows.
#[derive(Debug, Default)]
pub struct Signals {
    own: Interrupts,
    /// The last one of another rank, and which.
    others: Cell<Option<(u8, usize)>>,
}

impl Signals {
    /// Those of this process, and what other ranks will tell of.
    pub(super) fn of(own: Interrupts) -> Self {
        Self { own, others: Cell::new(None) }
    }

    /// None, and none will come.
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self::default()
    }

    /// The number of this process's own.
    pub(super) fn own(&self) -> u8 {
        self.own.pending()
    }

    /// A rank has told of one.
    pub(super) fn note(&self, rank: usize, signal: u8) {
        if signal > 0 {
            self.others.set(Some((signal, rank)));
        }
    }

    /// For people; `None` where none came.
    pub fn text(&self) -> Option<String> {
        let own = Some((self.own(), 0)).filter(|(signal, _)| *signal > 0);
        let (signal, rank) = own.or(self.others.get())?;
        Some(format!("{} on rank {rank}", name(signal)))
    }
}

/// The name of a signal by its number.
fn name(signal: u8) -> String {
    let known = CAUGHT.iter().find(|(number, _)| *number == i32::from(signal));
    known.map_or_else(|| format!("signal {signal}"), |(_, name)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use signal_hook::low_level::raise;

    #[test]
    fn a_signal_is_noted_and_named() {
        let interrupts = Interrupts::install(0).unwrap();
        assert_eq!(interrupts.pending(), 0);
        for (signal, text) in CAUGHT.into_iter().filter(|&(signal, _)| !signals::is_ignored(signal)) {
            raise(signal).unwrap();
            assert_eq!(name(interrupts.pending()), text);
        }
        assert_eq!(name(9), "signal 9");
    }
}
