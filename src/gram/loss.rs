//! Robust losses: what takes the place of the square of a residual where outliers shall not rule the fit.
//!
//! With f = r/σ and z = f² the minimum is that of Σ σ²·ρ(z), ρ as in SciPy's `least_squares` with `f_scale` 1, so that
//! ρ(z) ≈ z for small residuals. Gradient and Hessian by r are 2·ρ'·r and 2·(ρ' + 2z·ρ''), the latter no less than zero: so a
//! pair enters the sums with r by ρ'·r and all others with the weight ρ' + 2z·ρ'' (Triggs et al., *Bundle Adjustment: A
//! Modern Synthesis*, 2000, § 4.3).

use serde::{Deserialize, Serialize};

use crate::arithmetic::elementary::ln;
use crate::arithmetic::{Isa, Lane};

/// A robust loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Loss {
    /// ρ = 2·(√(1 + z) − 1): absolute values, rounded off within σ.
    SoftL1,
    /// ρ = z up to 1, then 2√z − 1: squares within σ, absolute values beyond.
    Huber,
    /// ρ = ln(1 + z): what lies far away has no say at all.
    Cauchy,
}

impl Loss {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::SoftL1, Self::Huber, Self::Cauchy];

    /// As in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::SoftL1 => "soft_l1",
            Self::Huber => "huber",
            Self::Cauchy => "cauchy",
        }
    }

    /// Weight ρ' + 2z·ρ'' of a pair, no less than zero.
    pub fn weight(self, z: f64) -> f64 {
        match self {
            Self::SoftL1 => (1.0 + z).powf(-1.5),
            Self::Huber => f64::from(u8::from(z < 1.0)),
            Self::Cauchy => (1.0 - z).max(0.0) / ((1.0 + z) * (1.0 + z)),
        }
    }

    /// How much a residual of f = r/σ pulls, ρ'(f²)·f.
    pub fn influence(self, f: f64) -> f64 {
        match self {
            Self::SoftL1 => f / (1.0 + f * f).sqrt(),
            Self::Huber => f.clamp(-1.0, 1.0),
            Self::Cauchy => f / (1.0 + f * f),
        }
    }

    /// Mean weight of Gaussian residuals of variance `variance`·σ².
    pub fn mean_weight(self, variance: f64) -> f64 {
        let step = FARTHEST / STEPS as f64;
        let at = |k: usize| {
            let x = (k as f64 + 0.5) * step;
            (-0.5 * x * x).exp() * self.weight(variance * x * x)
        };
        (0..STEPS).map(at).sum::<f64>() * step * (2.0 / std::f64::consts::PI).sqrt()
    }

    /// Variance, in units of σ², of Gaussian residuals that would have this mean weight: what χ² per degree of freedom would be
    /// without outliers, for they hardly move a mean of weights.
    pub fn variance_at(self, mean_weight: f64) -> f64 {
        let (mut least, mut most) = (-WIDEST, WIDEST);
        for _ in 0..BISECTIONS {
            let middle = 0.5 * (least + most);
            // weights fall as residuals grow
            if self.mean_weight(f64::exp(middle)) > mean_weight {
                least = middle;
            } else {
                most = middle;
            }
        }
        (0.5 * (least + most)).exp()
    }
}

/// Gaussians end here, in standard deviations,
const FARTHEST: f64 = 8.0;
/// and are summed in so many steps.
const STEPS: usize = 4000;
/// Largest |ln variance| that is looked for, and how often the range is halved.
const WIDEST: f64 = 20.0;
const BISECTIONS: usize = 40;

/// A loss at an angle's noise.
#[derive(Clone, Copy)]
pub(super) struct Robust {
    /// `None`: squares, of pairs with a σ of their own.
    pub loss: Option<Loss>,
    /// σ.
    pub sigma: f64,
    /// σ₀ of pairs with a σ of their own: they enter with everything multiplied by σ₀/σ_ij.
    pub unit: f64,
}

/// Eight residuals as a loss sees them.
pub(super) struct Seen<I: Isa> {
    /// ρ'·r.
    pub pull: I::V,
    /// √(ρ' + 2z·ρ'').
    pub root: I::V,
    /// σ²·ρ.
    pub cost: I::V,
    /// ρ'·r without the pair's own weight.
    pub bare: I::V,
}

impl Robust {
    #[inline(always)]
    pub fn see<I: Isa>(self, isa: I, r: I::V) -> Seen<I> {
        let Some(loss) = self.loss else {
            return Seen { pull: r, root: isa.splat(1.0), cost: isa.mul(r, r), bare: r };
        };
        let (one, two) = (isa.splat(1.0), isa.splat(2.0));
        let f = isa.mul(r, isa.splat(1.0 / self.sigma));
        let z = isa.mul(f, f);
        let (pull, root, rho) = match loss {
            Loss::SoftL1 => {
                let t = isa.sqrt(isa.add(one, z));
                let inverse = isa.div(one, t);
                let root = isa.mul(inverse, isa.sqrt(inverse));
                (isa.mul(r, inverse), root, isa.div(isa.mul(two, z), isa.add(one, t)))
            }
            Loss::Huber => {
                let inside = isa.below(z, 1.0);
                let size = isa.sqrt(z);
                let far = isa.div(r, isa.pick(inside, one, size));
                (far, isa.keep(inside, one), isa.pick(inside, z, isa.sub(isa.mul(two, size), one)))
            }
            Loss::Cauchy => {
                let u = isa.add(one, z);
                let inverse = isa.div(one, u);
                let root = isa.mul(isa.sqrt(isa.keep(isa.below(z, 1.0), isa.sub(one, z))), inverse);
                (isa.mul(r, inverse), root, ln(isa, u))
            }
        };
        Seen { pull, root, cost: isa.mul(rho, isa.splat(self.sigma * self.sigma)), bare: pull }
    }

    /// The same, of pairs with a σ of their own where there is one; `m` says which have a value.
    #[inline(always)]
    pub fn weigh<I: Isa>(self, isa: I, m: I::M, r: I::V, sigma: Option<&Lane>) -> Seen<I> {
        let Some(sigma) = sigma else { return self.see(isa, r) };
        let k = isa.keep(m, isa.div(isa.splat(self.unit), isa.widen(sigma)));
        let Seen { pull, root, cost, bare } = self.see(isa, isa.mul(k, r));
        Seen { pull: isa.mul(k, pull), root: isa.mul(k, root), cost, bare }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::arithmetic::{InstructionSet, Kernel, V};
    use proptest::prelude::*;

    /// (ρ, ρ', ρ'') as SciPy's documentation defines them.
    pub fn rho(loss: Loss, z: f64) -> [f64; 3] {
        match loss {
            Loss::SoftL1 => [2.0 * ((1.0 + z).sqrt() - 1.0), (1.0 + z).powf(-0.5), -0.5 * (1.0 + z).powf(-1.5)],
            Loss::Huber if z <= 1.0 => [z, 1.0, 0.0],
            Loss::Huber => [2.0 * z.sqrt() - 1.0, z.powf(-0.5), -0.5 * z.powf(-1.5)],
            Loss::Cauchy => [z.ln_1p(), 1.0 / (1.0 + z), -1.0 / (1.0 + z).powi(2)],
        }
    }

    #[test]
    fn weights_tell_the_variance_of_the_bulk() {
        // the share of a Gaussian within one standard deviation
        assert!((Loss::Huber.mean_weight(1.0) - 0.6827).abs() < 1e-3);
        for loss in Loss::ALL {
            for z in [0.0, 0.3, 0.99, 1.5, 40.0] {
                let [_, first, second] = rho(loss, z);
                assert!((loss.influence(-z.sqrt()) + z.sqrt() * first).abs() < 1e-14, "{loss:?} {z}");
                assert!((loss.weight(z) - (first + 2.0 * z * second).max(0.0)).abs() < 1e-14, "{loss:?} {z}");
            }
            for variance in [0.1, 1.0, 7.0] {
                let found = loss.variance_at(loss.mean_weight(variance));
                assert!((found / variance - 1.0).abs() < 1e-2, "{loss:?}: {found} {variance}");
            }
            // one in twenty without any weight
            let with_outliers = loss.variance_at(0.95 * loss.mean_weight(1.0));
            assert!((1.05..1.25).contains(&with_outliers), "{loss:?}: {with_outliers}");
        }
    }

    struct Look(Robust, f64);

    impl Kernel for Look {
        type Output = [f64; 3];

        #[inline(always)]
        fn run<I: Isa>(self, isa: I) -> [f64; 3] {
            let seen = self.0.see(isa, isa.splat(self.1));
            [seen.pull, seen.root, seen.cost].map(|v| {
                let mut lanes: V = [0.0; 8];
                isa.store(v, &mut lanes);
                lanes[3]
            })
        }
    }

    proptest! {
        #[test]
        fn losses_are_those_of_scipy(
            r in prop_oneof![-0.3f64..0.3, -1e-5f64..1e-5, -1e6f64..1e6], sigma in 1e-4f64..1.0, which in 0usize..3,
        ) {
            let loss = Loss::ALL[which];
            let z = (r / sigma).powi(2);
            let [value, first, second] = rho(loss, z);
            // the weight, not its root: the definition loses digits where the weight is small
            let expected = [first * r, (first + 2.0 * z * second).max(0.0), sigma * sigma * value];
            let scales = [r.abs(), first, sigma * sigma * (1.0 + value)];
            let all: Vec<[f64; 3]> =
                InstructionSet::available().iter().map(|set| set.run(Look(Robust { loss: Some(loss), sigma, unit: sigma }, r))).collect();
            prop_assert!(all.iter().all(|own| own == &all[0]), "{all:?}");
            let [pull, root, cost] = all[0];
            for ((got, want), scale) in [pull, root * root, cost].into_iter().zip(expected).zip(scales) {
                prop_assert!((got - want).abs() <= 2e-15 * scale, "{loss:?} at {z}: {:?} against {expected:?}", all[0]);
            }
        }
    }
}
