//! The minimum of a robust loss, from the least-squares fit on.
//!
//! A loss that gives outliers little or no weight sees little or nothing from afar, where every residual looks like one. So σ
//! is first doubled as often as it takes to reach the residuals' own spread, on the coarsest level, and halved again from
//! minimum to minimum (graduated non-convexity; Blake and Zisserman, *Visual Reconstruction*, 1987). Then the levels follow
//! from coarse to fine.

use super::trust::{Goal, Trust};
use super::{COARSE_DECREMENT, COARSE_PASSES, Event, REFINE_DAMPING, Solver};
use crate::Result;
use crate::gram::{Loss, ONE, Pass, R};

/// Most doublings of σ: beyond a million σ data and noise have nothing to do with each other.
const MOST_DOUBLINGS: u8 = 20;
/// Distance in standard errors at which σ is halved.
const NEAR_ENOUGH: f64 = 1.0;

/// A robust loss instead of squares.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Robust {
    /// Which.
    pub loss: Loss,
    /// σ, by which the objective measures residuals.
    pub sigma: f64,
}

/// A robust fit beside its χ².
#[derive(Debug, Clone, PartialEq)]
pub struct RobustFit {
    /// Which loss.
    pub loss: Loss,
    /// σ.
    pub sigma: f64,
    /// Σ σ²·ρ((r/σ)²), what was minimised.
    pub cost: f64,
    /// Σ over the pairs of their weights ρ' + 2z·ρ'', between 0 and the number of pairs.
    pub weight: f64,
}

/// Plain sums over the pairs at an answer.
pub(super) struct Plain {
    pub chi2_per_angle: Vec<f64>,
    pub pairs_per_angle: Vec<f64>,
}

impl Plain {
    pub fn pairs(&self) -> f64 {
        self.pairs_per_angle.iter().sum()
    }

    pub fn chi2(&self) -> f64 {
        self.chi2_per_angle.iter().sum()
    }
}

impl Solver<'_, '_> {
    /// Σr² and pairs of every angle at an answer, with its contrasts and offsets.
    pub(super) fn plain(&mut self, level: usize, at: &Trust) -> Result<Plain> {
        let sums = self.objective.evaluate(level, &[at.point()], Pass::Chi2)?.remove(0);
        Ok(Plain {
            chi2_per_angle: sums.iter().map(|gram| gram.at(R, R)).collect(),
            pairs_per_angle: sums.iter().map(|gram| gram.at(ONE, ONE)).collect(),
        })
    }

    /// Takes the minima of least squares to those of the loss, best first.
    pub(super) fn robust(&mut self, robust: Robust, mut carried: Vec<Trust>) -> Result<Vec<Trust>> {
        let Robust { loss, sigma } = robust;
        let coarsest = self.objective.levels().len() - 1;
        for level in (0..=coarsest).rev() {
            let Some(best) = carried.first() else { break };
            let plain = self.plain(level, best)?;
            let n_pairs = self.n_pairs(level);
            (self.observe)(&Event::Level { level, n_pairs, carried: carried.len(), loss: Some(loss) });
            let mut doublings = 0;
            if level == coarsest {
                let spread = (plain.chi2() / plain.pairs().max(1.0)).sqrt();
                // as a cast, NaN and negative numbers are 0
                doublings = ((spread / sigma).log2().ceil() as u8).min(MOST_DOUBLINGS);
            }
            for doublings in (0..=doublings).rev() {
                let (goal, passes) = match (level, doublings) {
                    (0, 0) => self.finish(),
                    (_, 0) => (Goal::Approach(COARSE_DECREMENT), COARSE_PASSES),
                    _ => (Goal::Approach(NEAR_ENOUGH), COARSE_PASSES),
                };
                let mut starts: Vec<Trust> = carried
                    .iter()
                    .map(|c| {
                        let (physical, scaling) = (c.physical().to_vec(), c.reference().to_vec());
                        self.start(physical, scaling, goal, passes, REFINE_DAMPING).robust(plain.pairs())
                    })
                    .collect();
                self.run(level, &mut starts, Pass::Robust { loss, doublings })?;
                carried = starts;
            }
            self.prune(&mut carried, level, level == 0, &mut Vec::new());
        }
        Ok(carried)
    }
}
