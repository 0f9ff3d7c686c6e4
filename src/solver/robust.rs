//! The minimum of a robust loss, from the least-squares fit on.
//!
//! A loss that gives outliers little or no weight sees little or nothing from afar, where every residual looks like one. So σ
//! is first doubled as often as it takes to reach the residuals' own spread, on the coarsest level, and halved again from
//! minimum to minimum (graduated non-convexity; Blake and Zisserman, *Visual Reconstruction*, 1987). Then the levels follow
//! from coarse to fine.

use super::trust::{Goal, Trust};
use super::{COARSE_DECREMENT, COARSE_PASSES, Event, REFINE_DAMPING, Solver};
use crate::Result;
use crate::gram::{Loss, ONE, Pass, Point, R};

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
    /// Σr² and pairs of every angle at a point.
    pub(super) fn plain(&mut self, level: usize, at: &Point) -> Result<Plain> {
        let mut once = || -> Result<Plain> {
            let sums = self.objective.evaluate(level, std::slice::from_ref(at), Pass::Chi2)?.remove(0);
            Ok(Plain {
                chi2_per_angle: sums.iter().map(|gram| gram.at(R, R)).collect(),
                pairs_per_angle: sums.iter().map(|gram| gram.at(ONE, ONE)).collect(),
            })
        };
        let plain = once()?;
        // nonsense at a point where other passes made sense is the engine's fault
        if (plain.chi2() + plain.pairs()).is_finite() { Ok(plain) } else { once() }
    }

    /// Takes minima, of least squares or of the loss on a coarser level, the best first, to those of the loss on this level.
    pub(super) fn robust(&mut self, robust: Robust, level: usize, carried: &[Point]) -> Result<Vec<Trust>> {
        let Robust { loss, sigma } = robust;
        let plain = self.plain(level, &carried[0])?;
        let n_pairs = self.n_pairs(level);
        (self.observe)(&Event::Level { level, n_pairs, carried: carried.len(), loss: Some(loss) });
        let mut doublings = 0;
        if level == self.coarsest() {
            let spread = (plain.chi2() / plain.pairs().max(1.0)).sqrt();
            // as a cast, NaN and negative numbers are 0
            doublings = ((spread / sigma).log2().ceil() as u8).min(MOST_DOUBLINGS);
        }
        let mut from = carried.to_vec();
        loop {
            let (goal, passes) = match (level, doublings) {
                (0, 0) => self.finish(),
                (_, 0) => (Goal::Approach(COARSE_DECREMENT), COARSE_PASSES),
                _ => (Goal::Approach(NEAR_ENOUGH), COARSE_PASSES),
            };
            let mut starts: Vec<Trust> = from
                .into_iter()
                .map(|c| self.start(c.physical, c.scaling, goal, passes, REFINE_DAMPING).robust(plain.pairs()))
                .collect();
            self.run(level, &mut starts, Pass::Robust { loss, doublings })?;
            if doublings == 0 {
                return Ok(starts);
            }
            doublings -= 1;
            from = starts.iter().map(Trust::point).collect();
        }
    }
}
