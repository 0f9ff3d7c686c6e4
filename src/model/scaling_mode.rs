//! How contrast and offset depend on the angle.

/// Scaling mode of a fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScalingMode {
    /// Own contrast and offset for every angle.
    Individual,
    /// One contrast and one offset for all.
    Averaged,
}

impl ScalingMode {
    /// Fewest angles for which `auto` averages, as the Python package does.
    pub const AVERAGED_FROM: usize = 3;

    /// The name in configuration and results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Individual => "individual",
            Self::Averaged => "averaged",
        }
    }

    /// What `auto` picks for a number of angles.
    pub fn automatic(n_angles: usize) -> Self {
        if n_angles >= Self::AVERAGED_FROM { Self::Averaged } else { Self::Individual }
    }
}
