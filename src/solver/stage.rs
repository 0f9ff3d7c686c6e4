//! Where the solver stands between two levels.
//!
//! A level begins afresh from the points that the last one ended at, so these, and what is to be reported of the levels
//! before, are all that a fit carries along: a run that goes on from here ends bit for bit where it would have ended.

use serde::{Deserialize, Serialize};

use super::{Iteration, OtherMinimum};
use crate::gram::Point;

/// What is minimised on a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    /// Σr².
    Squares,
    /// The robust loss, after that.
    Robust,
}

/// What comes next, and what came before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// What is minimised next,
    pub part: Part,
    /// and on which level, 0 the finest.
    pub level: usize,
    /// Minima to begin with, the best first; at least one.
    pub carried: Vec<Point>,
    /// Minima given up on coarser levels.
    pub others: Vec<OtherMinimum>,
    /// Every judged pass so far.
    pub iterations: Vec<Iteration>,
    /// See [`super::Fit::searched_instead`].
    pub searched_instead: bool,
}
