//! The log: one line a message on stderr, rank named where it isn't 0.

use std::io::Write;

use log::LevelFilter;

use super::terminal::{BesideBlock, log_columns as columns};
use crate::text::{printable, wrapped};

/// Before later lines of a message.
const INDENT: &str = "      ";

/// Starts logging at `level`. Rank 0 writes everything; other ranks warnings and errors only, with their number.
pub fn start(level: LevelFilter, rank: usize) {
    let level = if rank == 0 { level } else { level.min(LevelFilter::Warn) };
    let prefix = if rank == 0 { String::new() } else { format!("rank {rank}: ") };
    let outcome = env_logger::Builder::new()
        .target(env_logger::Target::Pipe(Box::new(BesideBlock)))
        .filter_level(LevelFilter::Warn.min(level))
        .filter_module("homodyne_mpi", level)
        .format(move |out, record| {
            let name = record.level().as_str().to_lowercase();
            let line = printable(&format!("{name}: {prefix}{}", record.args()));
            match columns() {
                // broken between words; later lines stand under the message
                Some(columns) => writeln!(out, "{}", wrapped(&line, columns.saturating_sub(INDENT.len()), INDENT)),
                None => writeln!(out, "{line}"),
            }
        })
        .try_init();
    if outcome.is_err() {
        // already started, by a test or an embedding program: its settings stay
        log::set_max_level(level);
    }
}
