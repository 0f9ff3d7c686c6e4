//! The terminal that log lines and a living block share: the block makes room for every line.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use console::Term;
use indicatif::ProgressBar;

static BLOCK: Mutex<Option<ProgressBar>> = Mutex::new(None);

fn block() -> MutexGuard<'static, Option<ProgressBar>> {
    BLOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on this block is on the terminal; `None` = none is.
pub(super) fn set_block(bar: Option<ProgressBar>) {
    *block() = bar;
}

/// Widths of terminals that text is fitted to; on wider ones lines would be hard to read.
const COLUMNS: std::ops::RangeInclusive<usize> = 60..=100;

/// Columns for text on stdout, where that is a terminal.
pub fn columns() -> Option<usize> {
    let (_, columns) = Term::stdout().size_checked()?;
    io::stdout().is_terminal().then(|| usize::from(columns).clamp(*COLUMNS.start(), *COLUMNS.end()))
}

/// Columns of stderr, where that is a terminal.
pub(super) fn log_columns() -> Option<usize> {
    let (_, columns) = Term::stderr().size_checked()?;
    io::stderr().is_terminal().then_some(usize::from(columns))
}

/// Writes to stderr beside the block, if there is one.
pub(super) struct BesideBlock;

impl Write for BesideBlock {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // the lock isn't held while writing: drawing the block may log
        let bar = block().clone();
        let write = || io::stderr().write_all(bytes).map(|()| bytes.len());
        match bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
