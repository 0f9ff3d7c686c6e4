//! σ of every entry of c2, as a matrix beside that of the data.

use super::{Dataset, MatrixReport, TwoTime};
use crate::{Error, Result};

/// What reading σ of one matrix found.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub struct PairSigma {
    /// Fitted pairs with a value and a σ.
    pub n: u64,
    /// Sum of their 1/σ².
    pub inverse: f64,
    /// Fitted pairs with a value but without a positive, finite σ: left out.
    pub n_without: u64,
}

impl Dataset {
    /// Whether the file has σ of every entry of c2.
    pub fn has_sigma_by_pair(&self) -> bool {
        self.reader.has_sigma_by_pair()
    }

    /// Reads σ of matrix `k`, just read into `matrix`, at the half that its values are from, and makes NaN of values without a
    /// positive, finite σ, counting them in `report` as missing.
    ///
    /// # Errors
    /// [`Error::Data`]: unreadable data, or no pair with a σ.
    pub fn read_sigma(
        &self,
        k: usize,
        matrix: &mut TwoTime,
        report: &mut MatrixReport,
        sigma: &mut TwoTime,
    ) -> Result<PairSigma> {
        let slot = self.selected[k];
        self.read_sigma_as_stored(k, report, sigma)?;
        let n = matrix.n;
        let mut found = PairSigma::default();
        for i in 0..n {
            let row = i * n + i + 1..(i + 1) * n;
            // frame 0 takes no part in a fit
            let counts = u64::from(i > 0);
            for (c2, sigma) in matrix.values[row.clone()].iter_mut().zip(&sigma.values[row]) {
                if !c2.is_finite() {
                    continue;
                }
                let inverse = f64::from(*sigma).powi(-2);
                if *sigma > 0.0 && sigma.is_finite() {
                    found.n += counts;
                    found.inverse += counts as f64 * inverse;
                } else {
                    found.n_without += counts;
                    *c2 = f32::NAN;
                }
            }
        }
        report.n_missing += found.n_without;
        if found.n == 0 {
            let message = "no pair with a value has a positive, finite σ in the same half of the matrix";
            return Err(Error::data_at(&self.file, format!("/sigma[{slot}]"), message));
        }
        Ok(found)
    }

    /// σ of matrix `k`, in the upper half of `sigma` wherever the values of c2 are.
    ///
    /// # Errors
    /// [`Error::Data`]: unreadable data.
    pub(crate) fn read_sigma_as_stored(&self, k: usize, report: &MatrixReport, sigma: &mut TwoTime) -> Result<()> {
        sigma.resize(self.n_frames)?;
        self.reader.read_sigma(self.selected[k], self.frames(), sigma)?;
        if report.triangle == "lower" {
            super::triangle::transpose(sigma);
        }
        Ok(())
    }
}
