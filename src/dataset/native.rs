//! The native layout: `/c2` (K, N, N) float32, chunked by row blocks, `/phi` (K) in degree, root attributes `q` (Å⁻¹),
//! `dt` (s), `gap` (Å) and, where the file was cut from a longer measurement, `first_frame` (from 1). Written by `simulate`
//! and `convert`.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::hdf::{Source, read_frames};
use super::selection::{Cut, Found, Rings};
use super::squares::{rounding, unreadable};
use super::{MatrixReader, Slot, TwoTime};
use crate::Result;

/// The stack of matrices.
pub(super) const C2: &str = "/c2";
const PHI: &str = "/phi";
const SIGMA: &str = "/sigma";

/// Reads and checks all metadata.
pub(super) fn find(source: Source) -> Result<Found> {
    let (dataset, shape) = source.square(C2, 3)?;
    let phi = source.floats(PHI)?;
    if phi.len() != shape[0] {
        return Err(
            source.error(PHI, format!("expected {} angles, one per matrix of {C2}, found {}", shape[0], phi.len()))
        );
    }
    let Some(q) = positive(source, "q", "Å⁻¹")? else {
        return Err(source.error("/ attribute q", "is missing; expected the wavevector magnitude in Å⁻¹"));
    };
    let dt = positive(source, "dt", "s")?.map(|dt| (dt, "file: attribute dt".to_owned()));
    let gap = positive(source, "gap", "Å")?;
    let cut = first_frame(source)?.map(|first| Cut { frames: Some((first, first + shape[1] - 1)), q: None });
    let mut warnings = Vec::new();
    if source.exists(SIGMA) {
        warnings.push(format!("{SIGMA} is there but isn't used yet: all pairs weigh the same"));
    }
    let slot = |(k, phi): (usize, f64)| Slot { path: format!("{C2}[{k}]"), bin: None, q, phi, selected: false };
    let slots = phi.into_iter().enumerate().map(slot).collect();
    let is_wide = dataset.dtype().is_ok_and(|stored| stored.size() > size_of::<f32>());
    let notes = is_wide.then(|| rounding(shape[0], shape[0])).into_iter().collect();
    let reader = Reader { file: source.file.to_path_buf(), dataset };
    Ok(Found {
        slots,
        rings: Rings::Map(vec![q]),
        n_frames: shape[1],
        cut,
        dt,
        gap,
        notes,
        warnings,
        reader: Box::new(reader),
    })
}

fn positive(source: Source, name: &str, unit: &str) -> Result<Option<f64>> {
    let value = source.root_number(name)?;
    match value {
        Some(v) if !(v.is_finite() && v > 0.0) => {
            Err(source
                .error(&format!("/ attribute {name}"), format!("expected a positive number in {unit}, found {v}")))
        }
        _ => Ok(value),
    }
}

/// Number of the file's first frame in the measurement that it was cut from.
fn first_frame(source: Source) -> Result<Option<usize>> {
    /// Larger numbers aren't those of frames.
    const MOST: f64 = 1e15;
    match source.root_number("first_frame")? {
        None => Ok(None),
        Some(first) if (1.0..MOST).contains(&first) && first.fract() == 0.0 => Ok(Some(first as usize)),
        Some(first) => {
            Err(source.error("/ attribute first_frame", format!("expected a frame, counted from 1, found {first}")))
        }
    }
}

/// σ of every matrix of a native file, where it has one for each or one for all; `None` also where the file is none.
///
/// # Errors
/// [`crate::Error::Data`] where `/sigma` is anything else.
pub(crate) fn sigma_of_matrices(file: &Path, n: usize) -> Result<Option<Vec<f64>>> {
    let Ok(h5) = hdf5::File::open(file) else { return Ok(None) };
    let source = Source { file, h5: &h5 };
    if !source.exists(SIGMA) {
        return Ok(None);
    }
    let values = match source.dataset(SIGMA)?.shape()[..] {
        [] => source.number(SIGMA)?.into_iter().collect(),
        _ => source.floats(SIGMA)?,
    };
    let sigma = if values.len() == 1 { vec![values[0]; n] } else { values };
    if sigma.len() != n || sigma.iter().any(|s| !(s.is_finite() && *s > 0.0)) {
        let message = format!("expected one positive σ for all of the {n} matrices of {C2}, or one for each");
        return Err(source.error(SIGMA, message));
    }
    Ok(Some(sigma))
}

struct Reader {
    file: PathBuf,
    dataset: hdf5::Dataset,
}

impl MatrixReader for Reader {
    fn read(&self, slot: usize, frames: Range<usize>, into: &mut TwoTime) -> Result<()> {
        read_frames(&self.dataset, Some(slot), frames, into)
            .map_err(|e| unreadable(&self.file, &format!("{C2}[{slot}]"), &e))
    }
}
