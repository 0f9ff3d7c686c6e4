//! What a run tells about itself: log, time by phase, progress.

mod logging;
mod phases;
mod progress;
mod terminal;

pub use logging::start as start_logging;
pub use phases::{Phase, Phases};
pub use progress::Progress;
pub use terminal::columns as terminal_columns;
