//! Whether a fit is to be believed: the flag of the contract and the words behind it.

/// χ² per degree of freedom, against the noise in use, below which a fit may be `good`.
pub(super) const GOOD: f64 = 2.0;
/// The same for `marginal`.
const MARGINAL: f64 = 5.0;
/// Most parameters at bounds for `marginal`.
const MARGINAL_AT_BOUNDS: usize = 2;

/// What quality is judged by.
#[derive(Debug, Clone, Copy)]
pub struct Evidence {
    /// Whether the solver reached a minimum.
    pub converged: bool,
    /// χ² per degree of freedom against the noise in use.
    pub reduced: f64,
    /// Parameters at a bound, contrast and offset included.
    pub at_bounds: usize,
    /// Directions that the data don't determine.
    pub undetermined: usize,
    /// Whether errors could be given at all.
    pub has_errors: bool,
    /// Whether all data could be read.
    pub is_whole: bool,
}

impl Evidence {
    /// `good`, `marginal` or `poor`.
    pub fn flag(&self) -> &'static str {
        let described = self.reduced < MARGINAL;
        if !self.converged || !self.has_errors || !described || self.at_bounds > MARGINAL_AT_BOUNDS {
            "poor"
        } else if self.reduced < GOOD && self.at_bounds == 0 && self.undetermined == 0 && self.is_whole {
            "good"
        } else {
            "marginal"
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: Evidence =
        Evidence { converged: true, reduced: 1.01, at_bounds: 0, undetermined: 0, has_errors: true, is_whole: true };

    #[test]
    fn only_a_fit_without_any_doubt_is_good() {
        assert_eq!(FINE.flag(), "good");
        for doubt in [
            Evidence { reduced: 2.5, ..FINE },
            Evidence { at_bounds: 1, ..FINE },
            Evidence { undetermined: 1, ..FINE },
            Evidence { is_whole: false, ..FINE },
        ] {
            assert_eq!(doubt.flag(), "marginal");
        }
        for failure in [
            Evidence { converged: false, ..FINE },
            Evidence { reduced: 5.5, ..FINE },
            Evidence { reduced: f64::NAN, ..FINE },
            Evidence { at_bounds: 3, ..FINE },
            Evidence { has_errors: false, ..FINE },
        ] {
            assert_eq!(failure.flag(), "poor");
        }
    }
}
