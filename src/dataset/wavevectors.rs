//! Lists that hold a q for every bin, in whatever unit.

use super::hdf::Source;
use super::units::Quantity;
use crate::Result;

/// The unit of a list that doesn't say its own.
#[derive(Clone, Copy)]
pub(super) struct Custom {
    /// By what its numbers are divided to be in Å⁻¹.
    pub divisor: f64,
    /// What to say then, behind the path.
    pub remark: &'static str,
}

/// What a list says of every bin.
pub(super) struct Bins {
    /// q, Å⁻¹; NaN for a bin that has none.
    pub q: Vec<f64>,
    /// φ, degree, where the list is of pairs (q, φ).
    pub phi: Option<Vec<f64>>,
    /// What to say where the file doesn't name the unit of q.
    pub remark: Option<String>,
}

/// Reads a list of q, or of pairs (q, φ), one per bin.
///
/// Errors where the length of the list isn't `n`, or its unit isn't one of q.
pub(super) fn wavevectors(
    source: Source,
    path: &str,
    n: usize,
    custom: Custom,
    notes: &mut Vec<String>,
) -> Result<Bins> {
    let (mut values, phi) = match source.shape(path)?[..] {
        [length, 2] if length == n => {
            notes.push(format!("{path} holds pairs, taken as q and φ in degree"));
            let pairs = source.table(path)?;
            let column = |k: usize| pairs.iter().skip(k).step_by(2).copied().collect();
            (column(0), Some(column(1)))
        }
        _ => (source.floats_or_nan(path)?, None),
    };
    if values.len() != n {
        let message = format!("expected {n} values of q, one per matrix, found {}", values.len());
        return Err(source.error(path, message));
    }
    if source.convert(path, &mut values, Quantity::Wavevector, None, notes)? {
        return Ok(Bins { q: values, phi, remark: None });
    }
    values.iter_mut().for_each(|q| *q /= custom.divisor);
    Ok(Bins { q: values, phi, remark: Some(format!("{path} {}", custom.remark)) })
}

/// A q that a matrix has: a positive number. The others of a list, of bins without pixels, may be anything.
pub(super) fn used(source: Source, path: &str, at: usize, q: f64) -> Result<f64> {
    if q.is_finite() && q > 0.0 {
        return Ok(q);
    }
    Err(source.error(path, format!("expected positive numbers, found {q} at index {at}, which has a matrix")))
}
