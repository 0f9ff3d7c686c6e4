//! Whether a fit is to be believed: what is found against it in words, and the flag of the contract that follows.

use crate::gram::overview::{Overview, Smoothness};

/// χ² per degree of freedom, against the noise in use, below which a fit may be `good`,
pub(super) const GOOD: f64 = 2.0;
/// below which it is still `marginal`,
pub(super) const MARGINAL: f64 = 5.0;
/// and below which σ is too large.
pub(super) const TOO_SMALL: f64 = 0.5;
/// Most parameters at bounds for `marginal`.
pub(super) const MARGINAL_AT_BOUNDS: usize = 2;
/// The smooth part may be larger than the noise explains by this many of its standard deviations,
const CLEARLY: f64 = 6.0;
/// and by this share, since noise needn't be quite independent.
const AGREES: f64 = 1.5;

/// What a finding means for the use of the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// To be known; nothing is wrong.
    Remark,
    /// Forbids `good`.
    Doubt,
    /// Forbids `marginal`, too.
    Failure,
}

/// What a reader must know before using the numbers, a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How much it weighs.
    pub weight: Weight,
    /// In words.
    pub text: String,
}

impl Finding {
    /// One that forbids `good`.
    pub fn doubt(text: String) -> Self {
        Self { weight: Weight::Doubt, text }
    }
}

/// `good`, `marginal` or `poor`: the worst that was found.
pub(super) fn flag(findings: &[Finding]) -> &'static str {
    match findings.iter().map(|finding| finding.weight).max() {
        None | Some(Weight::Remark) => "good",
        Some(Weight::Doubt) => "marginal",
        Some(Weight::Failure) => "poor",
    }
}

/// What a flag means to whoever wants to use the numbers.
pub(super) fn words(flag: &str) -> &'static str {
    match flag {
        "good" => "the model describes the data to within their noise, and they determine its parameters",
        "marginal" => "the numbers can be used with care; what to mind is said below",
        _ => "the numbers aren't to be used before what is said below is understood",
    }
}

/// The smooth part of the residuals against the noise.
///
/// Residuals averaged over blocks of frames; Σ of their squares over what noise that is independent from pair to pair explains,
/// per number of blocks less parameters. 1 where the model describes the data and pairs are independent; the number of
/// pairs doesn't dilute it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SmoothPart {
    /// That number.
    pub ratio: f64,
    /// Blocks less parameters.
    pub degrees_of_freedom: usize,
}

impl SmoothPart {
    /// Over all angles, of a fit of so many parameters; `None` where there are no more blocks than that.
    pub fn new(seen: Smoothness, parameters: usize) -> Option<Self> {
        let degrees_of_freedom = seen.blocks.checked_sub(parameters).filter(|&left| left > 0)?;
        let ratio = seen.between / degrees_of_freedom as f64;
        // a noise that isn't one gives anything
        (ratio.is_finite() && ratio >= 0.0).then_some(Self { ratio, degrees_of_freedom })
    }

    /// Below this model and noise agree.
    pub fn limit(self) -> f64 {
        AGREES.max(1.0 + CLEARLY * (2.0 / self.degrees_of_freedom as f64).sqrt())
    }

    /// For people.
    pub fn text(self) -> String {
        let verdict = if self.agrees() { "agrees with" } else { "isn't explained by" };
        format!(
            "{:.2} for {} blocks less parameters; {verdict} the noise, limit {:.2}",
            self.ratio,
            self.degrees_of_freedom,
            self.limit()
        )
    }

    /// Whether they do.
    pub fn agrees(self) -> bool {
        self.ratio < self.limit()
    }
}

/// The smooth part of all angles together.
pub fn smoothness(seen: &[Overview]) -> Smoothness {
    seen.iter()
        .map(Overview::smoothness)
        .fold(Smoothness::default(), |a, b| Smoothness { between: a.between + b.between, blocks: a.blocks + b.blocks })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_finding_makes_the_flag() {
        let of = |weights: &[Weight]| {
            let findings: Vec<Finding> =
                weights.iter().map(|&weight| Finding { weight, text: String::new() }).collect();
            flag(&findings)
        };
        assert_eq!(of(&[]), "good");
        assert_eq!(of(&[Weight::Remark]), "good");
        assert_eq!(of(&[Weight::Doubt, Weight::Remark]), "marginal");
        assert_eq!(of(&[Weight::Doubt, Weight::Failure, Weight::Remark]), "poor");
    }

    #[test]
    fn the_limit_of_the_smooth_part_follows_from_its_scatter() {
        let part = |between: f64, blocks: usize| SmoothPart::new(Smoothness { between, blocks }, 9);
        assert_eq!(part(5.0, 9), None);
        // 671 blocks scatter by 5.5 %
        let many = part(900.0, 680).unwrap();
        assert!((many.ratio - 900.0 / 671.0).abs() < 1e-12 && many.limit() == AGREES && many.agrees());
        assert!(!part(1100.0, 680).unwrap().agrees());
        // 27 by 27 %
        let few = part(60.0, 36).unwrap();
        assert!((few.limit() - (1.0 + 6.0 * (2.0f64 / 27.0).sqrt())).abs() < 1e-12 && few.agrees());
    }
}
