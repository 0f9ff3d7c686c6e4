//! Result files of APS 8-ID-I as they were before the upgrade of the source.
//!
//! `<g>/C2T_all/g2_00001` … hold one matrix each, where `<g>` is named by the text in `/xpcs/output_data`. The number is
//! the bin, from 1, at which `/xpcs/dqlist` and `/xpcs/dphilist` hold its q and φ. Every bin has a q of its own, so a
//! ring is what lies within a tolerance.

use super::Slot;
use super::aps_u::{frame_spacing, skipped};
use super::hdf::Source;
use super::selection::{Found, Rings};
use super::squares::Squares;
use super::units::Quantity;
use crate::Result;

/// q of every bin, Å⁻¹.
pub(super) const Q_LIST: &str = "/xpcs/dqlist";
/// φ of every bin, degree.
const PHI_LIST: &str = "/xpcs/dphilist";
/// Names the group of the results.
const OUTPUT: &str = "/xpcs/output_data";
/// The group of the matrices where nothing names another.
pub(super) const DEFAULT_MATRICES: &str = "/exchange/C2T_all";
const DEFAULT_GROUP: &str = "/exchange";
/// Time between frames of the detector, s.
const PERIODS: [&str; 2] =
    ["/measurement/instrument/detector/exposure_period", "/measurement/instrument/acquisition/exposure_period"];
/// Every so many frames was taken, and so many were averaged.
const STRIDES: [&str; 2] = ["/xpcs/stride_frames", "/xpcs/stride_frame"];
const AVERAGES: [&str; 2] = ["/xpcs/avg_frames", "/xpcs/avg_frame"];
/// First frame of the detector that was correlated, from 1.
const BEGIN: &str = "/xpcs/data_begin_todo";
const GROUP_KEY: &str = "experimental_data.exchange_key";
/// Names that are listed where there is no matrix.
const MAX_NAMED: usize = 5;

/// How matrices are named: the number behind the prefix is the bin.
#[derive(Clone, Copy)]
pub(super) struct Naming<'a> {
    pub prefix: &'a str,
    /// The name of the first, for people.
    pub first: &'static str,
}

const NAMING: Naming<'static> = Naming { prefix: "g2_", first: "g2_00001" };

impl Naming<'_> {
    /// The digits of a name; `None` for other names.
    pub fn digits(self, name: &str) -> Option<&str> {
        name.strip_prefix(self.prefix).filter(|d| !d.is_empty() && d.bytes().all(|b| b.is_ascii_digit()))
    }
}

/// Reads and checks all metadata. `exchange_key` is the configured group of the results.
pub(super) fn find(source: Source, exchange_key: Option<&str>) -> Result<Found> {
    find_named(source, exchange_key, NAMING)
}

/// Whether matrices are there.
pub(super) fn is_there(source: Source, exchange_key: Option<&str>) -> bool {
    holds(source, exchange_key, NAMING)
}

/// Whether matrices of such names are in the group of the results.
pub(super) fn holds(source: Source, exchange_key: Option<&str>, naming: Naming) -> bool {
    results(source, exchange_key, &mut Vec::new())
        .and_then(|(group, _)| source.members(&matrices_in(&group)))
        .is_ok_and(|names| names.iter().any(|name| naming.digits(name).is_some()))
}

/// The group of the matrices in that of the results.
fn matrices_in(group: &str) -> String {
    if group == "/" { "/C2T_all".to_owned() } else { format!("{group}/C2T_all") }
}

/// Reads and checks all metadata of a file whose matrices are so named.
pub(super) fn find_named(source: Source, exchange_key: Option<&str>, naming: Naming) -> Result<Found> {
    let (mut notes, mut warnings) = (Vec::new(), Vec::new());
    let (mut q, mut phi) = (source.floats_or_nan(Q_LIST)?, source.floats_or_nan(PHI_LIST)?);
    if q.len() != phi.len() {
        let message = format!("expected {} angles, one per q of {Q_LIST}, found {}", q.len(), phi.len());
        return Err(source.error(PHI_LIST, message));
    }
    source.convert(Q_LIST, &mut q, Quantity::Wavevector, None, &mut notes)?;
    source.convert(PHI_LIST, &mut phi, Quantity::Angle, None, &mut notes)?;
    let (group, origin) = results(source, exchange_key, &mut warnings)?;
    let place = matrices_in(&group);
    if !source.exists(&place) {
        let message = format!(
            "this group of matrices is missing ({origin}); where {OUTPUT} names no group, {GROUP_KEY} says where to look"
        );
        return Err(source.error(&place, message));
    }
    let matrices = numbered(source, &place, naming, &mut notes)?;
    notes.push(format!(
        "{} matrices in {place} ({origin}); the number in a name is the bin, whose q and φ are in {Q_LIST} and {PHI_LIST} \
         ({} bins)",
        matrices.len(),
        q.len()
    ));
    let mut slots = Vec::with_capacity(matrices.len());
    let mut squares = Squares::new(source.file);
    for (bin, path) in matrices {
        let Some(at) = bin.checked_sub(1).filter(|&at| at < q.len()) else {
            let message = format!("belongs to no bin: {Q_LIST} lists bins 1 to {}", q.len());
            return Err(source.error(&path, message));
        };
        if !(q[at].is_finite() && q[at] > 0.0) {
            let message = format!("bin {bin} has q = {} Å⁻¹; expected a positive number", q[at]);
            return Err(source.error(Q_LIST, message));
        }
        if !phi[at].is_finite() {
            return Err(source.error(PHI_LIST, format!("bin {bin} has φ = {}; expected a finite number", phi[at])));
        }
        squares.add(source, &path)?;
        slots.push(Slot { path, bin: Some(bin as i64), q: q[at], phi: phi[at], selected: false });
    }
    notes.extend(squares.rounding());
    let dt = frame_spacing(source, &mut notes, &mut warnings);
    let per_frame = [STRIDES, AVERAGES].iter().filter_map(|paths| first_positive(source, paths)).product();
    let skipped = skipped(source, (BEGIN, 1.0), per_frame, &mut notes);
    Ok(Found {
        slots,
        rings: Rings::PerBin,
        n_frames: squares.n_frames(),
        cut: None,
        dt,
        likely_dt: likely_spacing(source, &mut notes),
        bad_frames: Vec::new(),
        skipped,
        gap: None,
        notes,
        warnings,
        reader: Box::new(squares),
    })
}

/// Time between frames, s, as it follows from the detector's and from what the correlator made of its frames; nothing where the
/// file doesn't hold the former as a positive number.
fn likely_spacing(source: Source, notes: &mut Vec<String>) -> Option<(f64, String)> {
    let first = |paths: &[&str]| first_positive(source, paths);
    let period = PERIODS.iter().find_map(|path| source.seconds(path, notes).ok().flatten().map(|time| (time, path)));
    let (period, path) = period.filter(|(time, _)| time.is_finite() && *time > 0.0)?;
    let (stride, average) = (first(&STRIDES).unwrap_or(1.0), first(&AVERAGES).unwrap_or(1.0));
    let text = format!("{path} {period} s × stride_frames {stride} × avg_frames {average}");
    Some((period * stride * average, text))
}

/// The first of some numbers that is there and positive.
fn first_positive(source: Source, paths: &[&str]) -> Option<f64> {
    paths.iter().find_map(|path| source.number(path).ok().flatten().filter(|n| n.is_finite() && *n > 0.0))
}

/// The group of the results as an absolute path, and where that came from.
fn results(source: Source, exchange_key: Option<&str>, warnings: &mut Vec<String>) -> Result<(String, String)> {
    let absolute = |name: &str| format!("/{}", name.trim_matches(|c: char| c == '/' || c == '\0' || c.is_whitespace()));
    let wanted = exchange_key.map(absolute);
    if source.exists(OUTPUT) {
        let names = source.strings(OUTPUT)?;
        let [name] = &names[..] else {
            return Err(source.error(OUTPUT, format!("expected the name of one group, found {}", names.len())));
        };
        let named = absolute(name);
        if named != "/" {
            if let Some(wanted) = wanted.filter(|wanted| *wanted != named) {
                warnings.push(format!("{GROUP_KEY} = {wanted} isn't used: {OUTPUT} names {named}"));
            }
            return Ok((named, format!("named by {OUTPUT}")));
        }
    }
    Ok(match wanted {
        Some(wanted) => (wanted, format!("named by {GROUP_KEY}")),
        None => (DEFAULT_GROUP.to_owned(), format!("{OUTPUT} names no group")),
    })
}

/// Bin and path of every matrix, by ascending bin.
pub(super) fn numbered(
    source: Source,
    place: &str,
    naming: Naming,
    notes: &mut Vec<String>,
) -> Result<Vec<(usize, String)>> {
    let mut matrices: Vec<(usize, String)> = Vec::new();
    let mut others = Vec::new();
    for name in source.members(place)? {
        match naming.digits(&name) {
            // a number that doesn't fit is that of no bin, and refused as such
            Some(digits) => matrices.push((digits.parse().unwrap_or(usize::MAX), format!("{place}/{name}"))),
            None => others.push(name),
        }
    }
    others.sort_unstable();
    if matrices.is_empty() {
        let named = others.iter().take(MAX_NAMED).cloned().collect::<Vec<_>>().join(", ");
        let found = if others.is_empty() { "nothing".to_owned() } else { named };
        return Err(source.error(place, format!("expected matrices named {} …, found {found}", naming.first)));
    }
    if !others.is_empty() {
        notes.push(format!("not matrices, left alone: {} in {place}", others.join(", ")));
    }
    matrices.sort_unstable();
    match matrices.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        Some(pair) => Err(source.error(&pair[1].1, format!("has the same number as {}", pair[0].1))),
        None => Ok(matrices),
    }
}
