//! One file per command.

pub mod benchmark;
pub mod checkpoint;
pub mod compare;
pub mod completions;
pub mod config;
pub mod convert;
pub mod device;
mod differences;
pub mod dry_run;
pub mod fit;
mod fitting;
mod holding;
pub mod inspect;
mod keeper;
mod opening;
pub mod outputs;
mod plots;
mod reading;
pub mod recording;
mod sampling;
mod scaling;
mod shelf;
mod sigma;
pub mod simulate;
mod stops;
pub mod synthetic;
mod writing;

pub use benchmark::benchmark;
pub use compare::compare;
pub use completions::completions;
pub use convert::convert;
pub use dry_run::dry_run;
pub use fit::{Asked, fit};
pub use inspect::inspect;
pub use keeper::Going;
pub use plots::Plots;
pub use simulate::{SimulationSummary, simulate, truth_beside};

use std::io::ErrorKind;
use std::path::Path;

use crate::{Error, Result};

/// The outcome of printing; a reader that has heard enough (`| head`) is no failure.
fn heard(printed: std::io::Result<()>) -> Result<()> {
    match printed {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(Error::io("write", Path::new("standard output"), e)),
        _ => Ok(()),
    }
}

/// A size for people.
fn byte_text(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["bytes", "KiB", "MiB", "GiB"];
    let mut size = bytes as f64;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} bytes") } else { format!("{size:.1} {}", UNITS[unit]) }
}
