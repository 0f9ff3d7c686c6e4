//! APS-U result files as boost_corr writes them.
//!
//! `/xpcs/twotime/correlation_map/c2_00001` … hold one matrix each. The number is the position in `processed_bins`,
//! from 1; the bin found there leads to a point of the (q, φ) map through `dynamic_index_mapping`, which is missing
//! where no bin was masked away.

use super::Slot;
use super::hdf::Source;
use super::rings::short;
use super::selection::{Found, Rings, Spacing};
use super::squares::Squares;
use super::units::Quantity;
use crate::Result;

/// The group of the matrices.
pub(super) const MAP: &str = "/xpcs/twotime/correlation_map";
const BINS: &str = "/xpcs/twotime/processed_bins";
const Q_LIST: &str = "/xpcs/qmap/dynamic_v_list_dim0";
const PHI_LIST: &str = "/xpcs/qmap/dynamic_v_list_dim1";
const MAPPING: &str = "/xpcs/qmap/dynamic_index_mapping";
const MAP_SHAPE: &str = "/xpcs/qmap/dynamic_num_pts";
const MAP_NAMES: &str = "/xpcs/qmap/map_names";
const MAP_UNITS: &str = "/xpcs/qmap/map_units";
const FRAME_TIME: &str = "/entry/instrument/detector_1/frame_time";
const STRIDE: &str = "/xpcs/twotime/config/stride_frame";
const AVERAGE: &str = "/xpcs/twotime/config/avg_frame";
/// First frame of the detector that was correlated, from 0.
const BEGIN: &str = "/xpcs/twotime/config/begin_frame";

const Q_NAMES: [&str; 5] = ["q", "|q|", "q_map", "qmap", "wavevector"];
const PHI_NAMES: [&str; 8] = ["phi", "φ", "ϕ", "phi_map", "phimap", "azimuth", "azimuthal", "azimuthal_angle"];

/// Reads and checks all metadata.
pub(super) fn find(source: Source) -> Result<Found> {
    let (mut notes, mut warnings) = (Vec::new(), Vec::new());
    let map = BinMap::read(source, &mut notes)?;
    let bins = source.integers(BINS)?;
    let paths = matrix_paths(source, bins.len(), &mut notes)?;
    if !bins.is_sorted() {
        notes.push(format!("{BINS} is not sorted; c2 numbers are positions in it"));
    }

    let mut slots = Vec::with_capacity(bins.len());
    let mut squares = Squares::new(source.file);
    for (path, &bin) in paths.into_iter().zip(&bins) {
        let (q, phi) = map.point(source, bin)?;
        squares.add(source, &path)?;
        slots.push(Slot { path, bin: Some(bin), q, phi, selected: false });
    }
    notes.extend(squares.rounding());
    let moved = bins.iter().filter(|&&bin| map.is_moved(bin)).count();
    if moved > 0 {
        notes.push(format!(
            "the map is masked: the Python package takes bin b for point b − 1 of it, which gives {moved} of these {} matrices \
             another q or φ than here",
            bins.len()
        ));
    }
    let dt = frame_spacing(source, &mut notes, &mut warnings);
    let per_frame = [STRIDE, AVERAGE].iter().filter_map(|path| source.number(path).ok().flatten()).product();
    let skipped = skipped(source, (BEGIN, 0.0), per_frame, &mut notes);
    Ok(Found {
        slots,
        rings: Rings::Map(map.q),
        n_frames: squares.n_frames(),
        cut: None,
        dt,
        likely_dt: None,
        bad_frames: Vec::new(),
        skipped,
        gap: None,
        notes,
        warnings,
        reader: Box::new(squares),
    })
}

/// From bin numbers to (q, φ).
struct BinMap {
    q: Vec<f64>,
    phi: Vec<f64>,
    mapping: Option<Vec<i64>>,
}

impl BinMap {
    fn read(source: Source, notes: &mut Vec<String>) -> Result<Self> {
        if source.exists(MAP_NAMES) {
            check_names(source, &source.strings(MAP_NAMES)?)?;
        }
        let (mut q, mut phi) = (source.floats_or_nan(Q_LIST)?, source.floats_or_nan(PHI_LIST)?);
        let units = if source.exists(MAP_UNITS) { source.strings(MAP_UNITS)? } else { Vec::new() };
        let of_map = |k: usize| units.get(k).filter(|unit| !unit.trim().is_empty()).map(|unit| (&**unit, MAP_UNITS));
        source.convert(Q_LIST, &mut q, Quantity::Wavevector, of_map(0), notes)?;
        source.convert(PHI_LIST, &mut phi, Quantity::Angle, of_map(1), notes)?;
        if source.exists(MAP_SHAPE) {
            let shape = source.integers(MAP_SHAPE)?;
            if shape.len() == 2 && shape != [q.len() as i64, phi.len() as i64] {
                let message = format!(
                    "says that the map is {} × {}, but there are {} q in {Q_LIST} and {} φ in {PHI_LIST}",
                    shape[0],
                    shape[1],
                    q.len(),
                    phi.len()
                );
                return Err(source.error(MAP_SHAPE, message));
            }
        }
        let mapping = if source.exists(MAPPING) { Some(source.integers(MAPPING)?) } else { None };
        let size = format!("{} q × {} φ map", q.len(), phi.len());
        notes.push(match &mapping {
            Some(m) => format!(
                "bins lead to (q, φ) through {MAPPING}: {} of {} points of the {size}",
                m.len(),
                q.len() * phi.len()
            ),
            None => {
                format!("bins lead to (q, φ) directly: bin b is point b − 1 of the {size} ({MAPPING} is not there)")
            }
        });
        Ok(Self { q, phi, mapping })
    }

    /// Whether masked bins before a bin make its point another than its number says.
    fn is_moved(&self, bin: i64) -> bool {
        let position = usize::try_from(bin - 1).ok();
        position.is_some_and(|p| self.mapping.as_ref().is_some_and(|m| m.get(p).is_some_and(|&flat| flat != bin - 1)))
    }

    fn point(&self, source: Source, bin: i64) -> Result<(f64, f64)> {
        let (n_phi, size) = (self.phi.len(), self.q.len() * self.phi.len());
        let position = usize::try_from(bin).ok().and_then(|b| b.checked_sub(1));
        let n_bins = self.mapping.as_ref().map_or(size, Vec::len);
        let Some(position) = position.filter(|&p| p < n_bins) else {
            return Err(source.error(BINS, format!("bin {bin} lies outside the map, whose bins are 1 to {n_bins}")));
        };
        let flat = match &self.mapping {
            None => position,
            Some(mapping) => match usize::try_from(mapping[position]).ok().filter(|&f| f < size) {
                Some(flat) => flat,
                None => {
                    let message = format!(
                        "bin {bin} leads to point {}, but the map has points 0 to {}",
                        mapping[position],
                        size - 1
                    );
                    return Err(source.error(MAPPING, message));
                }
            },
        };
        let (q, phi) = (self.q[flat / n_phi], self.phi[flat % n_phi]);
        if !(q.is_finite() && q > 0.0) {
            return Err(source.error(Q_LIST, format!("bin {bin} has q = {q} Å⁻¹; expected a positive number")));
        }
        if !phi.is_finite() {
            return Err(source.error(PHI_LIST, format!("bin {bin} has φ = {phi}; expected a finite number")));
        }
        Ok((q, phi))
    }
}

fn check_names(source: Source, names: &[String]) -> Result<()> {
    let plain: Vec<String> = names.iter().map(|n| n.trim().to_lowercase().replace([' ', '-'], "_")).collect();
    match &plain[..] {
        [q, phi] if Q_NAMES.contains(&q.as_str()) && PHI_NAMES.contains(&phi.as_str()) => Ok(()),
        _ => {
            Err(source.error(MAP_NAMES, format!("expected a map over q and phi, found one over {}", names.join(", "))))
        }
    }
}

/// HDF5 paths of c2_00001 … c2_<n>, after checking that exactly these are there.
fn matrix_paths(source: Source, n: usize, notes: &mut Vec<String>) -> Result<Vec<String>> {
    let mut paths: Vec<Option<String>> = vec![None; n];
    let mut ignored = Vec::new();
    let mut n_found = 0;
    let mut beyond = None;
    for name in source.members(MAP)? {
        let digits = name.strip_prefix("c2_").filter(|d| !d.is_empty() && d.bytes().all(|b| b.is_ascii_digit()));
        let Some(digits) = digits else {
            ignored.push(name);
            continue;
        };
        n_found += 1;
        match digits.parse::<usize>().ok().and_then(|number| paths.get_mut(number.wrapping_sub(1))) {
            Some(slot @ None) => *slot = Some(format!("{MAP}/{name}")),
            Some(Some(other)) => {
                return Err(source.error(&format!("{MAP}/{name}"), format!("has the same number as {other}")));
            }
            None => beyond = Some(name),
        }
    }
    if let Some(name) = beyond {
        let message = format!("belongs to no bin: {BINS} lists {n} bins, {MAP} holds {n_found} matrices");
        return Err(source.error(&format!("{MAP}/{name}"), message));
    }
    if let Some(at) = paths.iter().position(Option::is_none) {
        let message = format!("is missing: {BINS} lists {n} bins, {MAP} holds {n_found} matrices");
        return Err(source.error(&format!("{MAP}/c2_{:05}", at + 1), message));
    }
    if !ignored.is_empty() {
        notes.push(format!("not matrices, left alone: {} in {MAP}", ignored.join(", ")));
    }
    Ok(paths.into_iter().flatten().collect())
}

/// Time between frames, s, with its derivation; `None` where the file doesn't say.
pub(super) fn frame_spacing(source: Source, notes: &mut Vec<String>, warnings: &mut Vec<String>) -> Spacing {
    let Some(frame_time) = source.seconds(FRAME_TIME, notes).transpose() else { return Ok(None) };
    let frame_time = frame_time?;
    let stride = source.number(STRIDE)?.unwrap_or(1.0);
    let average = source.number(AVERAGE)?.unwrap_or(1.0);
    let dt = frame_time * stride * average;
    if !(dt.is_finite() && frame_time > 0.0 && stride >= 1.0 && average >= 1.0) {
        warnings.push(format!(
            "the file's time between frames makes no sense and isn't used: \
             {FRAME_TIME} {frame_time}, stride_frame {stride}, avg_frame {average}"
        ));
        return Ok(None);
    }
    let derivation = format!("file: frame_time {frame_time} s × stride_frame {stride} × avg_frame {average}");
    Ok(Some((dt, derivation)))
}

/// Frames of the file that would lie before its first, where the correlator began later than the detector: `begin` is where the
/// file says with which frame, and the number of the first there is; `per_frame` frames of the detector make one of the file.
pub(super) fn skipped(source: Source, begin: (&str, f64), per_frame: f64, notes: &mut Vec<String>) -> usize {
    /// Beyond, the number can't be meant.
    const MOST: f64 = 1e9;
    let (path, first) = begin;
    let said = source.number(path).ok().flatten().filter(|at| at.fract() == 0.0 && (first..MOST).contains(at));
    let frames = said.map_or(0.0, |at| (at - first) / per_frame);
    if !(frames > 0.0 && frames < MOST) {
        return 0;
    }
    notes.push(format!(
        "the correlator began {} frames of c2 after the detector ({path} {}): t in `time_origin: acquisition` counts from there",
        short(frames),
        said.unwrap_or_default()
    ));
    frames.round() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_map_may_vary_in_case_and_spelling_but_not_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x.h5");
        let h5 = hdf5::File::create(&file).unwrap();
        let source = Source { file: &file, h5: &h5 };
        let check = |a: &str, b: &str| check_names(source, &[a.to_owned(), b.to_owned()]);
        assert!(check("q", "phi").is_ok());
        assert!(check(" Q", "Phi").is_ok());
        assert!(check("q", "Azimuthal angle").is_ok());
        assert!(check("phi", "q").is_err());
        assert!(check("qx", "qy").unwrap_err().to_string().contains("found one over qx, qy"));
        assert!(check_names(source, &["q".to_owned()]).is_err());
    }
}
