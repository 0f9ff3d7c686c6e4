//! The physics: what c2(φ, t1, t2) is for given parameters, and its derivatives.
//!
//! Everything here is per frame or per pair and in double precision; it knows nothing of files, ranks or tiles.
//! Source of all formulas: He et al., PNAS 121(31) 2024 (10.1073/pnas.2401162121) and PNAS 122(42) 2025
//! (10.1073/pnas.2514216122), in the numerical conventions of the Python package `homodyne` 2.x.

mod cumulative;
mod derived;
mod experiment;
pub mod pair;
mod parameters;
mod prior;
pub mod reference;
mod rows;
mod scaling_mode;
mod sinc;
mod time_axis;
mod valley;

pub use cumulative::Cumulative;
pub use derived::{Derived, derived};
pub use experiment::{AnalysisMode, Experiment, ShearConvention};
pub use parameters::{AngleBounds, CONTRAST, MAX_PHYSICAL, OFFSET, PHYSICAL, ParameterInfo, ParameterSpace};
pub use prior::Prior;
pub use rows::ShapeRows;
pub use scaling_mode::{ScalingMode, directions};
pub(crate) use sinc::{SINC_DERIVATIVE_SERIES, SINC_SERIES};
pub use sinc::{SINC_SERIES_LIMIT, sinc, sinc_and_derivative};
pub use time_axis::{Basis, BlockAxis, RATE_FLOOR, TimeAxis};
pub use valley::{Block, psi, to_valley};
