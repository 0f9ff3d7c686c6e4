//! Draws from the posterior of all parameters, over all data, by the No-U-Turn sampler.
//!
//! The sampler sees the data as the solver does, through [`Objective`]: it asks for Gram matrices at points. Contrast and offset are
//! integrated out and drawn afterwards ([`posterior`]), the physical parameters move in coordinates without bounds
//! ([`coordinates`]). A few chains go side by side, each a future that is pending while it waits for a pass: whatever they want to
//! know next, all of them share one. A chain's way depends on the answers to it alone, so neither ranks nor threads nor the other
//! chains change a bit of it.
//!
//! What and how, with references and figures: `docs/sampling.md`.

mod adaptation;
mod chain;
pub mod coordinates;
pub mod diagnostics;
mod nuts;
pub mod posterior;
mod run;
pub mod summary;
#[cfg(test)]
mod tests;
mod truncated;

use serde::{Deserialize, Serialize};

pub use chain::{Chain, Plan};
pub use posterior::{Noise, Posterior};
pub use run::{Progress, Record, sample, verify};

/// Settings of the sampler.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplerConfig {
    /// Transitions of every chain that only adapt it.
    pub n_warmup: usize,
    /// Draws of every chain.
    pub n_draws: usize,
    /// Chains.
    pub n_chains: usize,
    /// Acceptance that the step is adapted to.
    pub target_accept: f64,
    /// Most doublings of a trajectory.
    pub max_tree_depth: u32,
    /// Seed; every chain has a stream of its own.
    pub seed: u64,
    /// Whether σ is sampled; `None` = where the data have none.
    pub sample_sigma: Option<bool>,
}

impl Default for SamplerConfig {
    fn default() -> Self {
        Self {
            n_warmup: 500,
            n_draws: 1000,
            n_chains: 4,
            target_accept: 0.9,
            max_tree_depth: 10,
            seed: 42,
            sample_sigma: None,
        }
    }
}

/// One draw.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Draw {
    /// Physical parameters, in the order of [`crate::model::PHYSICAL`].
    pub physical: Vec<f64>,
    /// (contrast, offset) of every angle.
    pub scaling: Vec<(f64, f64)>,
    /// Standard deviation of the noise.
    pub sigma: f64,
    /// ln of the posterior's density in the chains' coordinates, but for a constant.
    pub ln_density: f64,
    /// Energy of the trajectory there.
    pub energy: f64,
    /// Mean acceptance probability along it.
    pub acceptance: f64,
    /// Length of its steps, in units of the metric.
    pub step: f64,
    /// Its doublings.
    pub depth: u32,
    /// Its steps.
    pub n_steps: u32,
    /// Whether its energy ran away.
    pub diverged: bool,
}
