//! The standard deviation σ of c2 that a fit counts with, angle by angle.

use super::Fit;

/// σ where neither the file nor the configuration gives one.
const DEFAULT: f64 = 0.01;

/// Where σ came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SigmaSource {
    /// A constant, which is no knowledge: errors are scaled by the residuals and quality is judged by the estimated noise.
    Default,
    /// Estimated from the data (`noise_estimation.enabled`).
    Estimated,
    /// The data file.
    File,
}

impl SigmaSource {
    /// The name in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Estimated => "estimated",
            Self::File => "file",
        }
    }

    /// The same for people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Default => "default: the file has none",
            Self::Estimated => "estimated from the data",
            Self::File => "from the file",
        }
    }
}

/// σ of every angle.
#[derive(Debug, Clone, PartialEq)]
pub struct Sigma {
    /// Where it came from.
    pub source: SigmaSource,
    /// By angle, all positive; where pairs have their own, 1/σ² is the mean over the angle's pairs.
    pub per_angle: Vec<f64>,
    /// Every pair has its own, by which the passes weigh it.
    pub by_pair: bool,
    /// σ₀, in units of which the solver works: σ itself where it is the same for all angles, else the value with which
    /// weights (σ₀/σ_φ)² leave the number of pairs as it is.
    pub reference: f64,
}

impl Sigma {
    /// The default for so many angles.
    pub fn default_of(n_angles: usize) -> Self {
        Self { source: SigmaSource::Default, per_angle: vec![DEFAULT; n_angles], by_pair: false, reference: DEFAULT }
    }

    /// Known σ of angles with so many pairs.
    ///
    /// # Panics
    /// When σ isn't positive, or there is no pair.
    pub fn known(source: SigmaSource, per_angle: Vec<f64>, pairs: &[u64]) -> Self {
        assert!(per_angle.iter().all(|&sigma| sigma > 0.0), "σ is positive");
        let first = per_angle[0];
        let reference = if per_angle.iter().all(|&sigma| sigma == first) {
            first
        } else {
            let total: f64 = pairs.iter().map(|&n| n as f64).sum();
            let weighted: f64 = pairs.iter().zip(&per_angle).map(|(&n, sigma)| n as f64 / (sigma * sigma)).sum();
            assert!(total > 0.0, "there are pairs");
            (total / weighted).sqrt()
        };
        Self { source, per_angle, by_pair: false, reference }
    }

    /// Whether it is no knowledge.
    pub fn is_default(&self) -> bool {
        self.source == SigmaSource::Default
    }

    /// The same, where every pair has its own.
    pub fn by_pair(self) -> Self {
        Self { by_pair: true, ..self }
    }

    /// (σ₀/σ_φ)² of every angle; 1 where the passes have weighed the pairs already.
    pub fn weights(&self) -> Vec<f64> {
        if self.by_pair { vec![1.0; self.per_angle.len()] } else { self.mean_weights() }
    }

    /// Mean weight of an angle's pairs.
    fn mean_weights(&self) -> Vec<f64> {
        self.per_angle.iter().map(|sigma| (self.reference / sigma).powi(2)).collect()
    }

    /// What errors are to be taken from: σ₀, or `None` for the residuals' own variance.
    pub fn for_errors(&self) -> Option<f64> {
        (!self.is_default()).then_some(self.reference)
    }

    /// Makes counts of a weighted fit whole again: pairs of an angle come back multiplied by its weight. χ² by angle stays
    /// in units of σ₀², as χ² itself is.
    pub fn count_pairs(&self, fit: &mut Fit) {
        let weights = self.mean_weights();
        for (pairs, weight) in fit.projected.pairs_per_angle.iter_mut().zip(&weights) {
            *pairs = (*pairs / weight).round();
        }
        fit.degrees_of_freedom = fit.degrees_of_freedom.round();
    }

    /// For people: one number, or the range over the angles.
    pub fn text(&self) -> String {
        let least = self.per_angle.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.per_angle.iter().copied().fold(0.0, f64::max);
        let number = |sigma: f64| format!("{sigma:.4e}").parse::<f64>().unwrap_or(sigma);
        if least == most { number(least).to_string() } else { format!("{} to {}", number(least), number(most)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_keep_the_number_of_pairs() {
        let (sigma, pairs) = (vec![0.005, 0.02, 0.011], [1000, 3000, 500]);
        let known = Sigma::known(SigmaSource::File, sigma.clone(), &pairs);
        let weights = known.weights();
        let total: f64 = weights.iter().zip(pairs).map(|(w, n)| w * n as f64).sum();
        assert!((total / 4500.0 - 1.0).abs() < 1e-14, "{total}");
        // the ratio of two weights is that of the variances
        assert!((weights[0] / weights[1] - 16.0).abs() < 1e-12);
        assert_eq!(known.text(), "0.005 to 0.02");
    }

    #[test]
    fn one_sigma_for_all_changes_no_bit() {
        let known = Sigma::known(SigmaSource::File, vec![0.013; 3], &[7, 8, 9]);
        assert_eq!((known.reference, known.weights()), (0.013, vec![1.0; 3]));
        assert_eq!(known.for_errors(), Some(0.013));
        assert_eq!(Sigma::default_of(2).for_errors(), None);
        assert_eq!(Sigma::default_of(2).weights(), [1.0, 1.0]);
    }
}
