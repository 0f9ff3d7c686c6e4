//! How the exponent follows from u and λ, and λ from μ: the valley's own coordinates made straight (formulas in [`super`]).

use super::{MARGIN, Shape, gathered, spread};
use crate::model::Prior;

/// Steps towards a place that Newton's method looks for, of which a few suffice mostly.
pub(super) const STEPS: usize = 60;
/// A step from which on the next would be rounding.
pub(super) const LAST: f64 = 1e-8;
/// Least ln(t/t_ref) at an end: in runs of a few frames t_ref may be one.
const LEAST: f64 = 1e-3;
/// Standard errors by which the slope differs from 0 from which on the curvature ends f_ref below.
const CLEARLY: f64 = 2.0;

/// The map of one block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bend {
    bounds: (f64, f64),
    /// Where the exponent is 0.
    zero: f64,
    /// c: 1, or more where the prior is narrower than the bounds.
    least: f64,
    /// 1/s and 1/k; 0 where u is the exponent alone.
    slope: f64,
    curvature: f64,
    /// ln(t/t_ref) at the earliest frame and at the last.
    ends: (f64, f64),
    /// f_ref at which b = 1.
    wall: f64,
}

/// The exponent at a place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Exponent {
    pub value: f64,
    /// ln of its derivative by u.
    pub ln_slope: f64,
    /// Its derivative by λ.
    pub by_lambda: f64,
    /// Its place on the line.
    place: f64,
}

/// Where a function that grows between two places reaches a value: by Newton's steps from `start`, and by halves where these leave the
/// bracket or don't get on. `function`: value and derivative.
fn solve(value: f64, (mut low, mut high): (f64, f64), start: f64, function: impl Fn(f64) -> (f64, f64)) -> f64 {
    let mut place = start.clamp(low, high);
    let mut before = high - low;
    for _ in 0..STEPS {
        let (there, slope) = function(place);
        let step = (value - there) / slope;
        if there < value {
            low = place;
        } else {
            high = place;
        }
        let next = place + step;
        let gets_on = next > low && next < high && 2.0 * step.abs() <= before;
        let last = step.abs() <= LAST * place.abs().max(1.0);
        before = if gets_on || last { step.abs() } else { 0.5 * (high - low) };
        place = if gets_on || last { next } else { 0.5 * (low + high) };
        if last {
            break;
        }
    }
    place
}

impl Bend {
    /// For these bounds, prior and shape, with ln(t/t_ref) at both ends.
    pub(super) fn new(bounds: (f64, f64), prior: Prior, shape: Shape, ends: (f64, f64)) -> Self {
        let (low, high) = bounds;
        let share = -low / (high - low);
        if !(share > MARGIN && share < 1.0 - MARGIN) {
            return Self { bounds, zero: 0.0, least: 1.0, slope: 0.0, curvature: 0.0, ends, wall: 0.0 };
        }
        let steepness = (high - low) * share * (1.0 - share);
        let least = prior.moments().map_or(1.0, |(_, sd)| (steepness / sd).max(1.0));
        // where nothing is known, or something that is none, it plays no part
        let of = |width: f64| if width.is_finite() && width > 0.0 { 1.0 / width } else { 0.0 };
        let (slope, curvature) = (of(shape.slope_width), of(shape.curvature_width));
        let away = |l: f64| if l.abs() < LEAST { LEAST } else { l };
        let ends = (away(ends.0), away(ends.1));
        let wall = curvature * (shape.slope.powi(2) - (CLEARLY * shape.slope_width).powi(2)).max(0.0);
        let wall = if wall.is_finite() { wall } else { 0.0 };
        Self { bounds, zero: (share / (1.0 - share)).ln(), least, slope, curvature, ends, wall }
    }

    /// u and its derivatives by the exponent's place and by λ, and the exponent there with ln of its derivative by the place.
    fn sum(&self, place: f64, f_ref: f64) -> ([f64; 3], (f64, f64)) {
        let (exponent, ln) = spread(self.bounds, place);
        let l = if exponent < 0.0 { self.ends.0 } else { self.ends.1 };
        let beyond = f_ref * self.curvature * (2.0 / (l * l)) * exponent.signum();
        let z = exponent * l;
        let (slope, excess) = (f_ref * self.slope, beyond * (z.exp_m1() - z));
        let by_lambda = slope * exponent + excess;
        let by_exponent = slope + beyond * l * z.exp_m1();
        let u = self.least * (place - self.zero) + by_lambda;
        ([u, self.least + by_exponent * ln.exp(), by_lambda], (exponent, ln))
    }

    /// The exponent at u and λ; `near`: that at a place nearby.
    pub(super) fn exponent(&self, u: f64, lambda: f64, near: Option<&Exponent>) -> Exponent {
        let f_ref = lambda.exp();
        // all terms of u have one sign
        let reach = u / self.least;
        let bracket = (self.zero + reach.min(0.0), self.zero + reach.max(0.0));
        let first = || {
            let (_, ln) = spread(self.bounds, self.zero);
            self.zero + u / (self.least + f_ref * self.slope * ln.exp())
        };
        let start = near.map_or_else(first, |near| near.place);
        let place = solve(u, bracket, start, |place| {
            let ([u, by_place, _], _) = self.sum(place, f_ref);
            (u, by_place)
        });
        let ([_, by_place, by_lambda], (value, ln)) = self.sum(place, f_ref);
        Exponent { value, ln_slope: ln - by_place.ln(), by_lambda: -by_lambda / by_place * ln.exp(), place }
    }

    /// u of an exponent.
    pub(super) fn u(&self, exponent: f64, lambda: f64) -> f64 {
        self.sum(gathered(self.bounds, exponent), lambda.exp()).0[0]
    }

    /// μ of a place in an interval of λ, its derivative by the place, and λ there with ln of its derivative.
    fn mu(&self, interval: (f64, f64), place: f64) -> (f64, f64, (f64, f64)) {
        let (lambda, ln) = spread(interval, place);
        let b = self.wall * (-lambda).exp();
        let root = 1f64.hypot(b);
        (place - root + 1.0, 1.0 + b * b / root * ln.exp(), (lambda, ln))
    }

    /// μ of λ within an interval, of one near an end or beyond it that of a λ inside.
    pub(super) fn bent(&self, interval: (f64, f64), lambda: f64) -> f64 {
        self.mu(interval, gathered(interval, lambda)).0
    }

    /// (λ within an interval, ln of its derivative by μ).
    pub(super) fn straight(&self, interval: (f64, f64), mu: f64) -> (f64, f64) {
        // μ grows with the place, and is less by no more than at the lower end
        let bracket = (mu, mu + (1f64.hypot(self.wall * (-interval.0).exp()) - 1.0));
        // where the place is far from both ends, μ is what b makes of it
        let b = ((1.0 - mu.min(0.0)).powi(2) - 1.0).sqrt();
        let start = if self.wall > 0.0 && b > 0.0 { gathered(interval, (self.wall / b).ln()) } else { mu };
        let place = solve(mu, bracket, start, |place| {
            let (mu, slope, _) = self.mu(interval, place);
            (mu, slope)
        });
        let here = self.mu(interval, place);
        let (_, slope, (lambda, ln)) = here;
        (lambda, ln - slope.ln())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bends() -> impl Iterator<Item = Bend> {
        let shape = |slope, slope_width, curvature_width| Shape { slope, slope_width, curvature_width };
        let ends = (-4.4, 1.1);
        [
            Bend::new((-2.0, 2.0), Prior::Uniform, shape(2000.0, 300.0, 1500.0), ends),
            Bend::new((-0.3, 1.9), Prior::Normal { mean: 0.0, sd: 0.1 }, shape(3.0, 5.0, 2.0), ends),
            Bend::new((-2.0, 2.0), Prior::Uniform, shape(0.0, 300.0, f64::INFINITY), ends),
            Bend::new((-2.0, 2.0), Prior::Uniform, shape(0.0, f64::INFINITY, f64::INFINITY), ends),
            Bend::new((0.2, 2.0), Prior::Uniform, shape(500.0, 300.0, 1500.0), ends),
            Bend::new((-2.0, 2.0), Prior::Uniform, shape(0.0, 300.0, f64::NAN), ends),
            Bend::new((-2.0, 2.0), Prior::Uniform, shape(900.0, 300.0, 1500.0), (0.0, 0.7)),
            // so high a wall that Newton's steps alone go to and fro
            Bend::new((-2.0, 2.0), Prior::Uniform, shape(-1929.0, 38.0, 10.0), ends),
        ]
        .into_iter()
    }

    #[test]
    fn derivatives_are_the_finite_differences() {
        for bend in bends() {
            for u in [-40.0, -3.0, -0.5, 0.1, 0.2, 2.0, 60.0] {
                for lambda in [0.0, 3.0, 5.5, 6.5, 8.0, 11.0] {
                    let h = 1e-5;
                    let here = bend.exponent(u, lambda, None);
                    let of = |u: f64, lambda: f64| bend.exponent(u, lambda, Some(&here)).value;
                    let near = |a: f64, b: f64| (a - b).abs() < 1e-6 * b.abs() + 1e-9;
                    let by_lambda = (of(u, lambda + h) - of(u, lambda - h)) / (2.0 * h);
                    assert!(near(by_lambda, here.by_lambda), "{bend:?} {u} {lambda}: {by_lambda} {here:?}");
                    let by_u = (of(u + h, lambda) - of(u - h, lambda)) / (2.0 * h);
                    assert!(near(by_u, here.ln_slope.exp()), "{bend:?} {u} {lambda}: {by_u} {here:?}");
                    assert!(
                        near(bend.u(here.value, lambda), u) || here.place.abs() > 6.9,
                        "{bend:?} {u} {lambda}: {here:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn lambda_comes_back() {
        let interval = (-0.5, 11.3);
        for bend in bends() {
            for lambda in [-0.45, 1.0, 4.0, 6.0, 7.0, 9.0, 11.2] {
                let mu = bend.bent(interval, lambda);
                let (back, ln) = bend.straight(interval, mu);
                // digits that a large μ hasn't are lost
                let lost = 4.0 * f64::EPSILON * mu.abs() * ln.exp();
                assert!((back - lambda).abs() < 1e-10 + lost, "{bend:?} {lambda}: {back}");
                let h = 1e-5 * mu.abs().max(1.0);
                let (up, down) = (bend.straight(interval, mu + h).0, bend.straight(interval, mu - h).0);
                let found = (up - down) / (2.0 * h);
                assert!((found / ln.exp() - 1.0).abs() < 1e-4, "{bend:?} {lambda}: {found} {}", ln.exp());
            }
        }
    }
}
