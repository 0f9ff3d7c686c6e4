//! A bivariate normal and a rectangle: contrast and offset are conditionally Gaussian, and their bounds cut them off.
//!
//! Nearly always the rectangle's edges are hundreds of standard deviations away, and nothing is to be done. Else one of the two
//! variables is integrated over analytically and the other by Gauss–Legendre panels over the part of the range that matters; the
//! integrand's logarithm is concave. All in logarithms, so that means far outside keep their digits.

use rand::{Rng, RngExt};
use rand_distr::{Distribution, Exp1, StandardNormal};

/// Distance of all edges from the mean, in standard deviations, at which nothing is cut off.
const FAR: f64 = 9.0;
/// ln of the integrand against its peak below which it counts no more.
const NOTHING: f64 = -40.0;
/// Panels over the part that matters, at least; its logarithm is concave and falls by 40 over it.
const PANELS: f64 = 16.0;
/// Steps of bisections and of the search for the peak.
const STEPS: usize = 60;
/// Tries of a draw.
const TRIES: usize = 100_000;
/// Nodes and weights of Gauss–Legendre with ten points on (−1, 1), the positive half.
const NODES: [(f64, f64); 5] = [
    (0.148_874_338_981_631_21, 0.295_524_224_714_752_87),
    (0.433_395_394_129_247_2, 0.269_266_719_309_996_36),
    (0.679_409_568_299_024_4, 0.219_086_362_515_982_04),
    (0.865_063_366_688_984_5, 0.149_451_349_150_580_6),
    (0.973_906_528_517_171_7, 0.066_671_344_308_688_14),
];

/// A normal distribution of two variables.
#[derive(Debug, Clone, Copy)]
pub struct Bivariate {
    /// Means.
    pub mean: [f64; 2],
    /// Covariance.
    pub covariance: [[f64; 2]; 2],
}

/// A rectangle.
#[derive(Debug, Clone, Copy)]
pub struct Rectangle {
    /// Lower edges.
    pub low: [f64; 2],
    /// Upper edges.
    pub high: [f64; 2],
}

/// ln of the probability inside a rectangle, and its derivatives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogProbability {
    /// Its value.
    pub value: f64,
    /// By the means.
    pub by_mean: [f64; 2],
    /// By Σ₁₁, by Σ₁₂ and Σ₂₁ moved together, and by Σ₂₂.
    pub by_covariance: [f64; 3],
}

/// ln of the standard normal distribution function.
fn ln_cdf(x: f64) -> f64 {
    const ASYMPTOTIC: f64 = -30.0;
    if x > 5.0 {
        (-0.5 * libm::erfc(x / std::f64::consts::SQRT_2)).ln_1p()
    } else if x > ASYMPTOTIC {
        (0.5 * libm::erfc(-x / std::f64::consts::SQRT_2)).ln()
    } else {
        // Abramowitz and Stegun 26.2.12
        let w = 1.0 / (x * x);
        ln_density(x) - (-x).ln() + (w * (-1.0 + w * (3.0 + w * (-15.0 + w * 105.0)))).ln_1p()
    }
}

/// ln of the standard normal density.
fn ln_density(x: f64) -> f64 {
    -0.5 * x * x - 0.5 * (2.0 * std::f64::consts::PI).ln()
}

/// ln of the probability of a standard normal between two values.
fn ln_between(low: f64, high: f64) -> f64 {
    // in the lower tail, where both keep their digits
    let (low, high) = if low > 0.0 { (-high, -low) } else { (low, high) };
    let (below, all) = (ln_cdf(low), ln_cdf(high));
    if below == f64::NEG_INFINITY { all } else { all + (-(below - all).exp()).ln_1p() }
}

/// One variable given the other, both in standard deviations.
struct Given {
    low: f64,
    high: f64,
    rho: f64,
    /// √(1 − ρ²).
    rest: f64,
}

impl Given {
    /// ln of the probability that it lies in its range, given the other.
    fn ln_inside(&self, x: f64) -> f64 {
        ln_between((self.low - self.rho * x) / self.rest, (self.high - self.rho * x) / self.rest)
    }

    /// Where that is greatest, between two values of the other.
    fn best(&self, low: f64, high: f64) -> f64 {
        let middle = match (self.low.is_finite(), self.high.is_finite()) {
            (true, true) => 0.5 * (self.low + self.high) / self.rho,
            (true, false) => self.rho * f64::INFINITY,
            (false, true) => -self.rho * f64::INFINITY,
            (false, false) => 0.0,
        };
        if middle.is_nan() { 0f64.clamp(low, high) } else { middle.clamp(low, high) }
    }
}

impl Bivariate {
    /// Standard deviations and correlation.
    fn scales(&self) -> ([f64; 2], f64) {
        let sd = [self.covariance[0][0].sqrt(), self.covariance[1][1].sqrt()];
        let rho = self.covariance[0][1] / (sd[0] * sd[1]);
        // a correlation of one leaves nothing to integrate over
        (sd, rho.clamp(-1.0 + 1e-12, 1.0 - 1e-12))
    }

    /// Edges in standard deviations from the mean.
    fn edges(&self, rectangle: &Rectangle, sd: [f64; 2]) -> [(f64, f64); 2] {
        [0, 1].map(|k| ((rectangle.low[k] - self.mean[k]) / sd[k], (rectangle.high[k] - self.mean[k]) / sd[k]))
    }

    /// ln P(inside) and its derivatives: by means as flows through the edges, by Σ₁₂ as densities at the corners (Plackett,
    /// Biometrika 41 (1954) 351), by a variance as half the second derivative by its mean.
    pub fn log_probability(&self, rectangle: &Rectangle) -> LogProbability {
        let (sd, rho) = self.scales();
        let edges = self.edges(rectangle, sd);
        if edges.iter().all(|&(low, high)| low < -FAR && high > FAR) {
            return LogProbability { value: 0.0, by_mean: [0.0; 2], by_covariance: [0.0; 3] };
        }
        let rest = ((1.0 - rho) * (1.0 + rho)).sqrt();
        let given = |k: usize| Given { low: edges[k].0, high: edges[k].1, rho, rest };
        let value = ln_integral(&given(1), edges[0]);
        let mut out = LogProbability { value, by_mean: [0.0; 2], by_covariance: [0.0; 3] };
        for k in 0..2 {
            let other = given(1 - k);
            let mut curvature = 0.0;
            for (x, sign) in [(edges[k].0, 1.0), (edges[k].1, -1.0)] {
                if x.is_infinite() {
                    continue;
                }
                let through = (ln_density(x) + other.ln_inside(x) - value).exp();
                let at = |edge: f64| {
                    let u = (edge - rho * x) / rest;
                    if u.is_finite() { (ln_density(x) + ln_density(u) - value).exp() } else { 0.0 }
                };
                out.by_mean[k] += sign * through / sd[k];
                curvature += sign * (x * through + rho / rest * (at(other.high) - at(other.low)));
            }
            out.by_covariance[2 * k] = 0.5 * curvature / (sd[k] * sd[k]);
        }
        for (x, sign_x) in [(edges[0].0, -1.0), (edges[0].1, 1.0)] {
            for (y, sign_y) in [(edges[1].0, -1.0), (edges[1].1, 1.0)] {
                if x.is_finite() && y.is_finite() {
                    let u = (y - rho * x) / rest;
                    let density = (ln_density(x) + ln_density(u) - value).exp() / rest;
                    out.by_covariance[1] += sign_x * sign_y * density / (sd[0] * sd[1]);
                }
            }
        }
        out
    }

    /// A draw from the normal cut off at the rectangle's edges: one variable by itself, taken as often as it leaves room for
    /// the other, then that one.
    pub fn draw_inside(&self, rectangle: &Rectangle, rng: &mut impl Rng) -> [f64; 2] {
        let (sd, rho) = self.scales();
        let edges = self.edges(rectangle, sd);
        let rest = ((1.0 - rho) * (1.0 + rho)).sqrt();
        // first the one whose edges cut more
        let first = usize::from(ln_between(edges[1].0, edges[1].1) < ln_between(edges[0].0, edges[0].1));
        let ((low, high), other) = (edges[first], edges[1 - first]);
        let given = Given { low: other.0, high: other.1, rho, rest };
        let most = given.ln_inside(given.best(low, high));
        let mut z = [0.0; 2];
        for _ in 0..TRIES {
            let x = between(low, high, rng);
            let share = (given.ln_inside(x) - most).exp();
            z[first] = x;
            if rng.random::<f64>() < share {
                break;
            }
        }
        let at = rho * z[first];
        z[1 - first] = at + rest * between((other.0 - at) / rest, (other.1 - at) / rest, rng);
        [0, 1].map(|k| (self.mean[k] + sd[k] * z[k]).clamp(rectangle.low[k], rectangle.high[k]))
    }
}

/// ln ∫ φ(x)·P(the other inside | x) dx between two values.
fn ln_integral(other: &Given, (low, high): (f64, f64)) -> f64 {
    let ln = |x: f64| ln_density(x) + other.ln_inside(x);
    // the peak lies between the density's and the other's best place
    let (near, best) = (0f64.clamp(low, high), other.best(low, high));
    let reach = |x: f64| x.clamp(-1e6, 1e6);
    let (mut left, mut right) = (reach(near.min(best)), reach(near.max(best)));
    const GOLDEN: f64 = 0.618_033_988_749_894_9;
    for _ in 0..STEPS {
        let (a, b) = (right - GOLDEN * (right - left), left + GOLDEN * (right - left));
        if ln(a) < ln(b) { left = a } else { right = b }
    }
    let peak = 0.5 * (left + right);
    let top = ln(peak);
    let end = |side: f64, edge: f64| {
        let mut out = peak;
        let mut step = other.rest.min(1.0);
        // outwards until nothing counts, then back to where it begins to
        while (edge - out) * side > 0.0 && ln(out) - top > NOTHING {
            out += side * step;
            step *= 2.0;
        }
        let mut out = if (edge - out) * side > 0.0 { out } else { edge };
        let mut inside = peak;
        if ln(out) - top < NOTHING {
            for _ in 0..STEPS {
                let middle = 0.5 * (inside + out);
                if ln(middle) - top < NOTHING { out = middle } else { inside = middle }
            }
        }
        out
    };
    let (from, to) = (end(-1.0, low), end(1.0, high));
    // where the other's edges pass, over a width of rest/ρ, panels are narrow
    let mut cuts = vec![from, peak, to];
    for edge in [other.low, other.high] {
        let (at, width) = (edge / other.rho, (other.rest / other.rho).abs());
        cuts.extend([-8.0, -4.0, -2.0, -1.0, 0.0, 1.0, 2.0, 4.0, 8.0].map(|k| at + k * width));
    }
    cuts.retain(|&x| x >= from && x <= to);
    cuts.sort_by(f64::total_cmp);
    let mut sum = 0.0;
    let widest = ((to - from) / PANELS).min(1.0);
    for ends in cuts.windows(2) {
        let panels = ((ends[1] - ends[0]) / widest).ceil().max(1.0);
        let half = 0.5 * (ends[1] - ends[0]) / panels;
        for panel in 0..panels as usize {
            let middle = ends[0] + (2 * panel + 1) as f64 * half;
            for (node, weight) in NODES {
                sum +=
                    half * weight * ((ln(middle - half * node) - top).exp() + (ln(middle + half * node) - top).exp());
            }
        }
    }
    top + sum.ln()
}

/// A standard normal between two values, by rejection (Robert, Statistics and Computing 5 (1995) 121).
fn between(low: f64, high: f64, rng: &mut impl Rng) -> f64 {
    if high < 0.0 {
        return -between(-high, -low, rng);
    }
    let width = high - low;
    let nearest = low.max(0.0);
    // rate of the exponential that fits the tail best
    let rate = 0.5 * (nearest + (nearest * nearest + 4.0).sqrt());
    let is_narrow = if low > 0.0 { width * rate < 1.0 } else { width < (2.0 * std::f64::consts::PI).sqrt() };
    loop {
        let (x, share) = if is_narrow {
            let x = low + width * rng.random::<f64>();
            (x, (0.5 * (nearest * nearest - x * x)).exp())
        } else if low > 0.0 {
            let step: f64 = Exp1.sample(rng);
            let x = low + step / rate;
            (x, (-0.5 * (x - rate).powi(2)).exp())
        } else {
            (StandardNormal.sample(rng), 1.0)
        };
        if x >= low && x <= high && rng.random::<f64>() <= share {
            return x;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    fn case(mean: [f64; 2], sd: [f64; 2], rho: f64) -> Bivariate {
        let cross = rho * sd[0] * sd[1];
        Bivariate { mean, covariance: [[sd[0] * sd[0], cross], [cross, sd[1] * sd[1]]] }
    }

    const UNIT: Rectangle = Rectangle { low: [0.0, 0.5], high: [1.0, 1.5] };

    /// A midpoint rule over the rectangle.
    fn brute(normal: &Bivariate, rectangle: &Rectangle) -> f64 {
        let n = 1500;
        let (sd, rho) = normal.scales();
        let rest = (1.0 - rho * rho).sqrt();
        let at = |k: usize, i: usize| {
            let value = rectangle.low[k] + (rectangle.high[k] - rectangle.low[k]) * (i as f64 + 0.5) / n as f64;
            (value - normal.mean[k]) / sd[k]
        };
        let cell = (rectangle.high[0] - rectangle.low[0]) * (rectangle.high[1] - rectangle.low[1]) / (n * n) as f64;
        let mut lns = Vec::with_capacity(n * n);
        for i in 0..n {
            for j in 0..n {
                let (x, y) = (at(0, i), at(1, j));
                lns.push(ln_density(x) + ln_density((y - rho * x) / rest));
            }
        }
        let top = lns.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        top + (lns.iter().map(|l| (l - top).exp()).sum::<f64>() * cell / (sd[0] * sd[1] * rest)).ln()
    }

    fn cases() -> Vec<Bivariate> {
        let mut out = Vec::new();
        for mean in [[0.5, 1.0], [0.0, 1.0], [-0.2, 1.6], [0.02, 0.51], [-1.0, 0.2], [1.2, 3.0]] {
            for sd in [[0.1, 0.1], [0.05, 0.3], [2.0, 5.0]] {
                out.extend([-0.95, -0.5, 0.0, 0.7].map(|rho| case(mean, sd, rho)));
            }
        }
        out
    }

    #[test]
    fn probabilities_are_those_of_quadrature_over_the_rectangle() {
        for normal in cases() {
            let (own, brute) = (normal.log_probability(&UNIT).value, brute(&normal, &UNIT));
            // the midpoint rule's own error
            assert!((own - brute).abs() < 3e-4 * brute.abs().max(1.0), "{normal:?}: {own} {brute}");
        }
    }

    #[test]
    fn independent_variables_multiply_far_into_the_tails() {
        for (mean, sd) in [([-3.0, 1.0], [0.1, 0.1]), ([-1.0, 4.0], [0.02, 0.05]), ([0.5, 0.5], [1e-6, 1e-6])] {
            let normal = case(mean, sd, 0.0);
            let edges = normal.edges(&UNIT, sd);
            let expected: f64 = edges.iter().map(|&(low, high)| ln_between(low, high)).sum();
            let own = normal.log_probability(&UNIT).value;
            assert!((own - expected).abs() < 1e-10 * expected.abs().max(1.0), "{mean:?}: {own} {expected}");
        }
        // a quadrant around the mean has 1/4 + asin(ρ)/2π, however thin the distribution
        let quadrant = Rectangle { low: [0.0, 0.0], high: [f64::INFINITY, f64::INFINITY] };
        for rho in [-0.999_99, -0.9, -0.3, 0.0, 0.4, 0.99, 0.999_99] {
            let own = case([0.0, 0.0], [1e-3, 2.0], rho).log_probability(&quadrant).value;
            let expected = (0.25 + f64::asin(rho) / (2.0 * std::f64::consts::PI)).ln();
            assert!((own - expected).abs() < 1e-9, "{rho}: {own} {expected}");
        }
        let far = case([0.3, 1.0], [1e-4, 1e-4], -0.6).log_probability(&UNIT);
        assert_eq!(far, LogProbability { value: 0.0, by_mean: [0.0; 2], by_covariance: [0.0; 3] });
    }

    #[test]
    fn derivatives_are_the_finite_differences() {
        for normal in cases() {
            let own = normal.log_probability(&UNIT);
            let slope = |change: &dyn Fn(&mut Bivariate, f64), size: f64| {
                let at = |h: f64| {
                    let mut moved = normal;
                    change(&mut moved, h);
                    moved.log_probability(&UNIT).value
                };
                let h = 1e-5 * size;
                (at(h) - at(-h)) / (2.0 * h)
            };
            let (sd, _) = normal.scales();
            let near = |numeric: f64, own: f64, size: f64| {
                assert!((numeric - own).abs() < 2e-5 * (own.abs() + 1.0 / size), "{normal:?}: {numeric} {own}");
            };
            for k in 0..2 {
                near(slope(&|n, h| n.mean[k] += h, sd[k]), own.by_mean[k], sd[k]);
                let square = sd[k] * sd[k];
                near(slope(&|n, h| n.covariance[k][k] += h, square), own.by_covariance[2 * k], square);
            }
            let both = |n: &mut Bivariate, h: f64| {
                n.covariance[0][1] += h;
                n.covariance[1][0] += h;
            };
            near(slope(&both, sd[0] * sd[1]), own.by_covariance[1], sd[0] * sd[1]);
        }
    }

    #[test]
    fn draws_are_inside_and_have_the_moments() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        for normal in [
            case([0.5, 1.0], [0.05, 0.05], 0.5),
            case([0.02, 0.55], [0.1, 0.1], -0.7),
            case([-0.5, 1.9], [0.1, 0.1], -0.3),
            case([-0.2, 1.0], [0.05, 0.4], 0.9),
        ] {
            let n = 40_000;
            let draws: Vec<[f64; 2]> = (0..n).map(|_| normal.draw_inside(&UNIT, &mut rng)).collect();
            let own = normal.log_probability(&UNIT);
            for k in 0..2 {
                assert!(draws.iter().all(|d| d[k] >= UNIT.low[k] && d[k] <= UNIT.high[k]));
                let mean = draws.iter().map(|d| d[k]).sum::<f64>() / f64::from(n);
                let sd = (draws.iter().map(|d| (d[k] - mean).powi(2)).sum::<f64>() / f64::from(n)).sqrt();
                // E[x | inside] = μ + Σ·∂ln P/∂μ (Tallis, J. R. Stat. Soc. B 23 (1961) 223)
                let expected = normal.mean[k] + (0..2).map(|l| normal.covariance[k][l] * own.by_mean[l]).sum::<f64>();
                let error = sd / f64::from(n).sqrt();
                assert!((mean - expected).abs() < 4.0 * error, "{normal:?} {k}: {mean} {expected} ± {error}");
            }
        }
    }
}
