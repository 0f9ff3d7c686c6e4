//! One file per command.

pub mod inspect;
pub mod simulate;

pub use inspect::inspect;
pub use simulate::{SimulationSummary, simulate};
