//! One file per command.

pub mod fit;
pub mod inspect;
pub mod simulate;

pub use fit::fit;
pub use inspect::inspect;
pub use simulate::{SimulationSummary, simulate};
