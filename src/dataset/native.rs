//! The native layout: `/c2` (K, N, N) float32, chunked by row blocks, `/phi` (K) in degree, root attributes `q` (Å⁻¹),
//! `dt` (s), `gap` (Å) and, where the file was cut from a longer measurement, `first_frame` (from 1). `/sigma` may hold the
//! standard deviation of c2: one for all matrices, (K), or (K, N, N), one for every entry of c2. Written by `simulate` and `convert`.

use std::ops::Range;
use std::path::PathBuf;

use super::chunks::unpacking;
use super::hdf::{Source, read_frames, shape_text};
use super::selection::{Cut, Found, Rings};
use super::squares::{rounding, unreadable};
use super::units::Quantity;
use super::{MatrixReader, Slot, TwoTime};
use crate::Result;

/// The stack of matrices.
pub(super) const C2: &str = "/c2";
const PHI: &str = "/phi";
pub(super) const SIGMA: &str = "/sigma";

/// Reads and checks all metadata.
pub(super) fn find(source: Source) -> Result<Found> {
    let (dataset, shape) = source.square(C2, 3)?;
    let mut phi = source.floats(PHI)?;
    let mut notes = Vec::new();
    source.convert(PHI, &mut phi, Quantity::Angle, None, &mut notes)?;
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
    let by_pair = sigma_by_pair(source, &shape)?;
    let sigma = if by_pair.is_some() { None } else { sigma(source, shape[0])? };
    let slot = |(k, phi): (usize, f64)| Slot { path: format!("{C2}[{k}]"), bin: None, q, phi, selected: false };
    let slots = phi.into_iter().enumerate().map(slot).collect();
    let is_wide = dataset.dtype().is_ok_and(|stored| stored.size() > size_of::<f32>());
    notes.extend(is_wide.then(|| rounding(shape[0], shape[0])));
    if sigma.is_some() {
        notes.push(format!("σ of c2 is taken from {SIGMA}"));
    }
    if by_pair.is_some() {
        notes.push(format!("σ of every entry of c2 is taken from {SIGMA}"));
    }
    let reader = Reader { file: source.file.to_path_buf(), dataset, sigma, by_pair };
    Ok(Found {
        slots,
        rings: Rings::Map(vec![q]),
        n_frames: shape[1],
        cut,
        dt: Ok(dt),
        likely_dt: None,
        bad_frames: Vec::new(),
        skipped: 0,
        gap,
        notes,
        warnings: Vec::new(),
        reader: Box::new(reader),
    })
}

/// σ of every entry of c2, where the file has it.
fn sigma_by_pair(source: Source, shape: &[usize]) -> Result<Option<hdf5::Dataset>> {
    if !source.exists(SIGMA) || source.dataset(SIGMA)?.shape() != shape {
        return Ok(None);
    }
    source.square(SIGMA, 3).map(|(dataset, _)| Some(dataset))
}

/// σ by matrix, where the file has it.
fn sigma(source: Source, n_matrices: usize) -> Result<Option<Vec<f64>>> {
    if !source.exists(SIGMA) {
        return Ok(None);
    }
    let shape = source.dataset(SIGMA)?.shape();
    let values = match shape[..] {
        [] => vec![source.number(SIGMA)?.unwrap_or(f64::NAN); n_matrices],
        [n] if n == n_matrices => source.floats(SIGMA)?,
        [1] => vec![source.number(SIGMA)?.unwrap_or(f64::NAN); n_matrices],
        _ => {
            let message = format!(
                "expected one σ per matrix, {n_matrices} of them, a single one, or one for every entry of {C2}, found {}",
                shape_text(&shape)
            );
            return Err(source.error(SIGMA, message));
        }
    };
    match values.iter().position(|sigma| !(sigma.is_finite() && *sigma > 0.0)) {
        Some(at) => {
            Err(source
                .error(SIGMA, format!("expected positive standard deviations, found {} at index {at}", values[at])))
        }
        None => Ok(Some(values)),
    }
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

struct Reader {
    file: PathBuf,
    dataset: hdf5::Dataset,
    sigma: Option<Vec<f64>>,
    by_pair: Option<hdf5::Dataset>,
}

impl MatrixReader for Reader {
    fn read(&self, slot: usize, frames: Range<usize>, into: &mut TwoTime) -> Result<()> {
        read_frames(&self.dataset, Some(slot), frames, into)
            .map_err(|e| unreadable(&self.file, &format!("{C2}[{slot}]"), &e))
    }

    fn memory_beside(&self, _: usize, frames: &Range<usize>) -> usize {
        let of_sigma = self.by_pair.as_ref().map_or(0, |dataset| unpacking(dataset, frames));
        unpacking(&self.dataset, frames).max(of_sigma)
    }

    fn sigma(&self) -> Option<&[f64]> {
        self.sigma.as_deref()
    }

    fn has_sigma_by_pair(&self) -> bool {
        self.by_pair.is_some()
    }

    fn read_sigma(&self, slot: usize, frames: Range<usize>, into: &mut TwoTime) -> Result<()> {
        let Some(dataset) = &self.by_pair else { return Ok(()) };
        read_frames(dataset, Some(slot), frames, into)
            .map_err(|e| unreadable(&self.file, &format!("{SIGMA}[{slot}]"), &e))
    }
}
