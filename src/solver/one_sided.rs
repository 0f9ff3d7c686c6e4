//! Parameters on a bound: what the data say of them lies on one side of it.
//!
//! Set free, such a parameter would go beyond its bound, by a step that the normal equations give, with an error that they give, too.
//! What is allowed of that normal distribution is its tail inside the bound. The tail's quantiles are one-sided limits, and its second
//! moment about the bound is what the parameter adds to the variances of all others, whose values were fitted with it on the bound.

use nalgebra::{DMatrix, DVector};

use super::coordinates::{Chart, Held};
use super::scaled::Scaled;

/// Bisections for a quantile.
const STEPS: usize = 80;
/// Depth of a tail, in standard deviations, from which it is an exponential.
const DEEP: f64 = 30.0;

/// What is known of a parameter on a bound.
#[derive(Debug, Clone, PartialEq)]
pub struct OneSided {
    /// Which, in the order of [`crate::model::PHYSICAL`].
    pub parameter: usize,
    /// The value, between which and the bound it lies with 68.27 %,
    pub limit_68: f64,
    /// and with 95.45 %.
    pub limit_95: f64,
}

/// The tail of a normal distribution above zero.
#[derive(Debug, Clone, Copy)]
struct Tail {
    /// How far below zero the mean lies, in standard deviations.
    depth: f64,
    sd: f64,
}

/// Probability of a standard normal above x, times e^(x²/2).
fn scaled_tail(x: f64) -> f64 {
    if x < DEEP {
        0.5 * libm::erfc(x / std::f64::consts::SQRT_2) * (0.5 * x * x).exp()
    } else {
        (1.0 - 1.0 / (x * x)) / (x * (2.0 * std::f64::consts::PI).sqrt())
    }
}

impl Tail {
    /// Mean of x² in it.
    fn second_moment(self) -> f64 {
        // inverse Mills ratio
        let hazard = 1.0 / ((2.0 * std::f64::consts::PI).sqrt() * scaled_tail(self.depth));
        let d = self.depth;
        // 1 + d² − d·hazard, whose digits go where the tail is an exponential of scale 1/d
        let relative = if d < DEEP { 1.0 + d * d - d * hazard } else { 2.0 / (d * d) * (1.0 - 6.0 / (d * d)) };
        self.sd * self.sd * relative.max(0.0)
    }

    /// The value below which it lies with this probability.
    fn quantile(self, probability: f64) -> f64 {
        let ln_share = |x: f64| {
            // ln P(above x) − ln P(above 0), x in standard deviations
            let there = self.depth + x;
            scaled_tail(there).ln() - scaled_tail(self.depth).ln() - 0.5 * (there * there - self.depth * self.depth)
        };
        let wanted = (1.0 - probability).ln();
        let (mut low, mut high) = (0.0, 1.0);
        while ln_share(high) > wanted {
            high *= 2.0;
        }
        for _ in 0..STEPS {
            let middle = 0.5 * (low + high);
            if ln_share(middle) > wanted { low = middle } else { high = middle }
        }
        self.sd * 0.5 * (low + high)
    }
}

/// What one parameter on a bound adds.
pub(super) struct Released {
    /// Its limits.
    pub limits: OneSided,
    /// Its mean square distance from the bound.
    second_moment: f64,
    /// How valley coordinates and natural parameters follow it, by its unit.
    valley: DVector<f64>,
    natural: DVector<f64>,
    /// Variance of the valley coordinates with it free, natural bound or not.
    pub free_valley: DMatrix<f64>,
}

impl Released {
    /// Sets parameter `k`, on a bound, free at the minimum; `normal` and `gradient` are those of the valley coordinates. `None` where
    /// the data then leave a direction open.
    pub fn new(
        chart: &Chart,
        physical: &[f64],
        held: &Held,
        k: usize,
        (normal, gradient): (&DMatrix<f64>, &DVector<f64>),
        s2: f64,
    ) -> Option<Self> {
        let mut held = *held;
        held[k] = false;
        let tangents = chart.tangents(physical, &held);
        let natural_tangents = chart.natural_tangents(physical, &held);
        let (free, open) = Scaled::new(&(tangents.transpose() * normal * &tangents)).invert();
        if !open.is_empty() {
            return None;
        }
        let natural = &natural_tangents * &free * natural_tangents.transpose();
        let variance = natural[(k, k)];
        let step = (&natural_tangents * &free * tangents.transpose() * gradient)[k];
        let (min, max) = chart.bounds(k);
        let inwards = if (physical[k] - min).abs() < (physical[k] - max).abs() { 1.0 } else { -1.0 };
        let sd = (s2 * variance).sqrt();
        let tail = Tail { depth: -inwards * step / sd, sd };
        if !(variance > 0.0 && tail.depth.is_finite()) {
            return None;
        }
        let limit = |p: f64| (physical[k] + inwards * tail.quantile(p)).clamp(min, max);
        Some(Self {
            limits: OneSided { parameter: k, limit_68: limit(0.682_689_5), limit_95: limit(0.954_499_7) },
            second_moment: tail.second_moment(),
            valley: &tangents * &free * natural_tangents.transpose().column(k) / variance,
            natural: natural.column(k) / variance,
            free_valley: &tangents * &free * tangents.transpose() * s2,
        })
    }

    /// Adds its share to covariances of the valley coordinates, of the natural parameters, and across.
    pub fn add(&self, valley: &mut DMatrix<f64>, natural: &mut DMatrix<f64>, across: &mut DMatrix<f64>) {
        // its own variance stays that of a value that is held: its limits say what there is to say
        let mut others = self.natural.clone();
        others[self.limits.parameter] = 0.0;
        *valley += &self.valley * self.valley.transpose() * self.second_moment;
        *across += &others * self.valley.transpose() * self.second_moment;
        *natural += &others * others.transpose() * self.second_moment;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Second moment and probability below x of the tail, by the midpoint rule.
    fn brute(tail: Tail, below: f64) -> (f64, f64) {
        let n = 400_000;
        let end = 12.0 / tail.depth.max(1.0);
        let (mut all, mut square, mut part) = (0.0, 0.0, 0.0);
        for k in 0..n {
            let x = end * (f64::from(k) + 0.5) / f64::from(n);
            let density = (-0.5 * (x + tail.depth).powi(2) + 0.5 * tail.depth * tail.depth).exp();
            all += density;
            square += density * x * x;
            part += if x * tail.sd < below { density } else { 0.0 };
        }
        (square / all * tail.sd * tail.sd, part / all)
    }

    #[test]
    fn moments_and_quantiles_are_those_of_quadrature() {
        for depth in [-3.0, -0.5, 0.0, 1.0, 4.0, 20.0, 29.9, 30.1, 200.0] {
            let tail = Tail { depth, sd: 0.3 };
            for probability in [0.682_689_5, 0.954_499_7] {
                let x = tail.quantile(probability);
                let (square, below) = brute(tail, x);
                assert!((below - probability).abs() < 1e-4, "{depth}: {below}");
                let own = tail.second_moment();
                assert!((own / square - 1.0).abs() < 5e-3, "{depth}: {own} {square}");
            }
        }
    }

    #[test]
    fn a_mean_on_the_bound_gives_half_a_normal() {
        let tail = Tail { depth: 0.0, sd: 2.0 };
        assert!((tail.second_moment() - 4.0).abs() < 1e-12);
        // 68.27 % of half a normal lie within one standard deviation
        assert!((tail.quantile(0.682_689_492_137_086) - 2.0).abs() < 1e-9);
    }
}
