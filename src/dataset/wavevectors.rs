//! Lists that hold a q for every bin, in whatever unit.

use super::hdf::Source;
use super::units::inverse_length;
use crate::Result;

/// The unit of a list that doesn't say its own.
#[derive(Clone, Copy)]
pub(super) struct Custom {
    /// By what its numbers are divided to be in Å⁻¹.
    pub divisor: f64,
    /// What to say then, behind the path.
    pub remark: &'static str,
}

/// q of every bin in Å⁻¹, and a remark where the file doesn't name the unit.
///
/// Errors where the list isn't one of finite positive numbers, its length isn't `n`, or its unit isn't one of q.
pub(super) fn wavevectors(source: Source, path: &str, n: usize, custom: Custom) -> Result<(Vec<f64>, Option<String>)> {
    let values = source.floats(path)?;
    if values.len() != n {
        let message = format!("expected {n} values of q, one per matrix, found {}", values.len());
        return Err(source.error(path, message));
    }
    if let Some(at) = values.iter().position(|&q| q <= 0.0) {
        return Err(source.error(path, format!("expected positive numbers, found {} at index {at}", values[at])));
    }
    let unit = source.unit(path)?;
    let (divisor, remark) = match unit {
        None => (custom.divisor, Some(format!("{path} {}", custom.remark))),
        Some(unit) => match inverse_length(&unit) {
            Some(divisor) => (divisor, None),
            None => {
                let message = format!("expected a unit of q such as 1/angstrom or 1/nm, found {unit:?}");
                return Err(source.error(&format!("{path} attribute units"), message));
            }
        },
    };
    Ok((values.into_iter().map(|q| q / divisor).collect(), remark))
}
