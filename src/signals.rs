//! Signals, as every command meets them.
//!
//! A limit on the size of files (`ulimit -f`) is met as an error of the write that goes beyond it. A command that can't go on from
//! a checkpoint ends by the signals that are meant to end it, but takes away what it hasn't completed first.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXCPU, SIGXFSZ};
use signal_hook::iterator::Signals;
use signal_hook::low_level::{emulate_default_handler, signal_name};

use crate::files;

/// What ends a command: a terminal that is closed, Ctrl-C, a batch system, a limit on the time of the processor.
const ENDING: [i32; 4] = [SIGHUP, SIGINT, SIGTERM, SIGXCPU];

/// Makes a write beyond the limit on the size of files fail instead of ending the process.
pub fn let_large_writes_fail() {
    // a handler that nobody listens to: ignoring the signal would be inherited by other programs; where the system refuses it,
    // the signal ends the process as before
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)));
}

/// Whether whoever started the process wants the signal to be ignored, as `nohup` does.
pub fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    ignored.is_some_and(|ignored| ignored >> (signal - 1) & 1 == 1)
}

/// Takes incomplete files away before a signal ends the process; for commands that nothing else stops.
pub fn clean_up_when_ended() {
    let Ok(mut signals) = Signals::new(ENDING.into_iter().filter(|&signal| !is_ignored(signal))) else { return };
    std::thread::spawn(move || {
        for signal in signals.forever() {
            files::remove_incomplete();
            let name = signal_name(signal).unwrap_or("a signal");
            // whoever has closed the terminal doesn't hear it
            let _ = std::io::Write::write_all(
                &mut std::io::stderr(),
                format!("stopped: by {name}; what wasn't complete is removed\n").as_bytes(),
            );
            let _ = emulate_default_handler(signal);
        }
    });
}
