//! Files after the NeXus application definition NXxpcs.
//!
//! `/entry/twotime/two_time_corr_func` (an entry may have another name) holds the matrices of all regions of interest, and its attributes say how:
//! `storage_mode` (which dimension counts the regions, or a group of datasets), `baseline_reference` (0 where c2 − 1 is
//! stored), `time_origin_location` (whether rows run down or up) and `populated_elements`. Regions are numbered from 1 and
//! have their q in `/entry/instrument/masks/dynamic_q_list`, their φ in `dynamic_phi_list`.

use super::aps_old::{Naming, numbered};
use super::hdf::{Source, entries, shape_text};
use super::selection::{Found, Purpose, Rings, Spacing};
use super::squares::{Order, Squares};
use super::units::Quantity;
use super::wavevectors::{Bins, Custom, used, wavevectors};
use super::{Baseline, Slot, Unsaid};
use crate::Result;

/// The stack of matrices, or the group of them, in the entry that most files have.
pub(super) const C2: &str = "/entry/twotime/two_time_corr_func";
const ENTRY_KEY: &str = "experimental_data.exchange_key";
const BASELINE_KEY: &str = "experimental_data.baseline_reference";
const ANGSTROM: Custom = Custom { divisor: 1.0, remark: "names no units; its q are taken as Å⁻¹" };
const HINT: &str = " (attributes storage_mode and time_origin_location say how the matrix lies)";

/// Where things are: an entry may have any name.
struct Entry {
    c2: String,
    q_list: String,
    phi_list: String,
    instrument: String,
}

impl Entry {
    fn named(name: &str) -> Self {
        let at = |path: &str| format!("/{name}/{path}");
        Self {
            c2: at("twotime/two_time_corr_func"),
            q_list: at("instrument/masks/dynamic_q_list"),
            phi_list: at("instrument/masks/dynamic_phi_list"),
            instrument: at("instrument"),
        }
    }

    /// The one with matrices; of several the configured one, else the file's default.
    fn find(source: Source, exchange_key: Option<&str>) -> Result<Self> {
        let there = entries_with_data(source);
        let wanted = exchange_key.map(|key| key.trim_matches('/'));
        let default = source.attribute_text("/", "default").ok().flatten();
        let chosen = [wanted, default.as_deref(), Some("entry")].into_iter().flatten();
        match (&there[..], chosen.into_iter().find(|name| there.iter().any(|there| there == name))) {
            (_, Some(name)) => Ok(Self::named(name)),
            ([only], None) => Ok(Self::named(only)),
            _ => {
                let message = format!(
                    "holds two-time data in several entries: {}; choose one with {ENTRY_KEY}",
                    there.join(", ")
                );
                Err(source.error("/", message))
            }
        }
    }
}

/// Names of the entries that hold matrices.
fn entries_with_data(source: Source) -> Vec<String> {
    let mut names = source.members("/").unwrap_or_default();
    names.retain(|name| source.exists(&Entry::named(name).c2));
    names.sort_unstable();
    names
}

/// Whether an entry of any name holds matrices.
pub(super) fn is_there(source: Source) -> bool {
    !entries_with_data(source).is_empty()
}

/// Reads and checks all metadata. `exchange_key` is the configured entry.
pub(super) fn find(source: Source, exchange_key: Option<&str>, unsaid: &Unsaid, purpose: Purpose) -> Result<Found> {
    let entry = &Entry::find(source, exchange_key)?;
    let Entry { q_list, .. } = entry;
    let (mut notes, mut warnings) = (Vec::new(), Vec::new());
    let mut squares = Squares::new(source.file);
    squares.hint = HINT;
    let regions = open_matrices(source, entry, &mut squares, &mut notes)?;
    squares.baseline = baseline(source, entry, unsaid, purpose, &mut notes, &mut warnings)?;
    squares.from_bottom = from_bottom(source, entry, &mut notes)?;
    if let Some(populated) = word(source, entry, "populated_elements", &["all", "upper_half", "lower_half"])? {
        notes.push(format!("populated_elements is {populated}; which half holds data is found from the data"));
    }
    // regions without a matrix may have a q all the same
    let listed = match source.shape(q_list)?[..] {
        _ if !regions.is_numbered => regions.numbers.len(),
        [length, 2] => length,
        ref shape => entries(shape),
    };
    let Bins { q, phi, remark } = wavevectors(source, q_list, listed, ANGSTROM, &mut notes)?;
    warnings.extend(remark);
    let phi = angles(source, entry, q.len(), &mut notes)?.or(phi);
    let mut slots = Vec::with_capacity(regions.numbers.len());
    for (path, &number) in squares.paths().zip(&regions.numbers) {
        let Some(at) = number.checked_sub(1).filter(|&at| at < q.len()) else {
            return Err(source.error(path, format!("belongs to no region: {q_list} lists regions 1 to {}", q.len())));
        };
        let phi = phi.as_ref().map_or(f64::NAN, |phi| phi[at]);
        let q = used(source, q_list, at, q[at])?;
        slots.push(Slot { path: path.to_owned(), bin: Some(number as i64), q, phi, selected: false });
    }
    notes.extend(squares.rounding());
    Ok(Found {
        slots,
        // regions of one angle each have a q of their own; rings that are whole are told apart
        rings: if phi.is_some() { Rings::PerBin } else { Rings::Map(q) },
        n_frames: squares.n_frames(),
        cut: None,
        dt: frame_time(source, entry, &mut notes, &mut warnings),
        likely_dt: None,
        bad_frames: Vec::new(),
        skipped: 0,
        gap: None,
        notes,
        warnings,
        reader: Box::new(squares),
    })
}

/// An attribute of the matrices that is one of a few words, where it is there.
fn word(source: Source, entry: &Entry, attribute: &str, words: &[&'static str]) -> Result<Option<&'static str>> {
    let Entry { c2, .. } = entry;
    let Some(text) = source.attribute_text(c2, attribute)? else { return Ok(None) };
    match words.iter().find(|word| text.trim_matches(|c: char| c == '\0' || c.is_whitespace()) == **word) {
        Some(word) => Ok(Some(word)),
        None => {
            let message = format!("expected one of {}, found {text:?}", words.join(", "));
            Err(source.error(&format!("{c2} attribute {attribute}"), message))
        }
    }
}

/// The regions that have matrices.
struct Regions {
    /// From 1, in the order of the reader.
    numbers: Vec<usize>,
    /// Whether the names of the matrices hold the numbers, so that some may be left out.
    is_numbered: bool,
}

fn open_matrices(source: Source, entry: &Entry, squares: &mut Squares, notes: &mut Vec<String>) -> Result<Regions> {
    let Entry { c2, .. } = entry;
    const MODES: [&str; 3] = ["one_array_q_first", "one_array_q_last", "data_exchange_keys"];
    let mode = match word(source, entry, "storage_mode", &MODES)? {
        Some(mode) => mode,
        None => {
            let mode = mode_by_shape(source, entry)?;
            notes.push(format!("storage_mode isn't said; {mode} follows from the shape"));
            mode
        }
    };
    if (mode == "data_exchange_keys") != source.is_group(c2) {
        let found = if source.is_group(c2) { "a group" } else { "a dataset" };
        return Err(source.error(c2, format!("is {found}, which storage_mode = {mode} contradicts")));
    }
    if mode == "data_exchange_keys" {
        let prefix = common_prefix(source, entry)?;
        let naming = Naming { prefix: &prefix, first: "by a common word and the number of the region, as g2_00001" };
        let matrices = numbered(source, c2, naming, notes)?;
        for (_, path) in &matrices {
            squares.add(source, path)?;
        }
        notes.push(format!("{} matrices in {c2}; the number in a name is that of the region", matrices.len()));
        return Ok(Regions { numbers: matrices.into_iter().map(|(number, _)| number).collect(), is_numbered: true });
    }
    squares.add_stack(source, c2, if mode == MODES[0] { Order::First } else { Order::Last })?;
    let n = squares.paths().count();
    Ok(Regions { numbers: (1..=n).collect(), is_numbered: false })
}

/// How the matrices lie where nothing but their shape tells.
fn mode_by_shape(source: Source, entry: &Entry) -> Result<&'static str> {
    let Entry { c2, .. } = entry;
    if source.is_group(c2) {
        return Ok("data_exchange_keys");
    }
    let shape = source.shape(c2)?;
    match shape[..] {
        // one matrix, without a dimension for it
        [a, b] if a == b => Ok("one_array_q_first"),
        [a, b, c] if b == c && a != b => Ok("one_array_q_first"),
        [a, b, c] if a == b && b != c => Ok("one_array_q_last"),
        _ => {
            let message = format!(
                "is missing, and {} doesn't tell which dimension counts the regions; write one_array_q_first or \
                 one_array_q_last into it",
                shape_text(&shape)
            );
            Err(source.error(&format!("{c2} attribute storage_mode"), message))
        }
    }
}

/// What stands before the numbers in the names of a group: that of the first name which ends in digits.
fn common_prefix(source: Source, entry: &Entry) -> Result<String> {
    let Entry { c2, .. } = entry;
    let mut names = source.members(c2)?;
    names.sort_unstable();
    let prefix = |name: &String| name.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned();
    Ok(names.iter().find(|name| name.ends_with(|c: char| c.is_ascii_digit())).map(prefix).unwrap_or_default())
}

fn baseline(
    source: Source,
    entry: &Entry,
    unsaid: &Unsaid,
    purpose: Purpose,
    notes: &mut Vec<String>,
    warnings: &mut Vec<String>,
) -> Result<Baseline> {
    let Entry { c2, .. } = entry;
    const NAME: &str = "baseline_reference";
    let place = format!("{c2} attribute {NAME}");
    let said = match source.attribute_number(c2, NAME)? {
        None => None,
        Some(0.0) => Some(Baseline::Zero),
        Some(1.0) => Some(Baseline::One),
        Some(other) => return Err(source.error(&place, format!("expected 0 or 1, found {other}"))),
    };
    match (said, unsaid.baseline) {
        (Some(said), configured) => {
            if configured.is_some_and(|configured| configured != said) {
                warnings.push(format!("{BASELINE_KEY} isn't used: the file says its own"));
            }
            if said == Baseline::Zero {
                notes.push("baseline_reference is 0: the file holds c2 − 1, to which 1 is added".to_owned());
            }
            Ok(said)
        }
        (None, Some(configured)) => {
            notes.push(format!("baseline_reference isn't said; {BASELINE_KEY} is used"));
            Ok(configured)
        }
        (None, None) if purpose == Purpose::Inspect => {
            warnings
                .push(format!("baseline_reference isn't said: values are shown as stored; a fit needs {BASELINE_KEY}"));
            Ok(Baseline::One)
        }
        (None, None) => {
            let message = format!("is missing: the file may hold c2 or c2 − 1; say 1 or 0 with {BASELINE_KEY}");
            Err(source.error(&place, message))
        }
    }
}

/// Whether the first row holds the last t1.
fn from_bottom(source: Source, entry: &Entry, notes: &mut Vec<String>) -> Result<bool> {
    let origin = word(source, entry, "time_origin_location", &["upper_left", "lower_left"])?;
    match origin {
        Some("lower_left") => {
            notes.push("time_origin_location is lower_left: rows are read from the last to the first".into())
        }
        Some(_) => {}
        None => notes.push(
            "time_origin_location isn't said and taken as upper_left; other matrices are refused as asymmetric".into(),
        ),
    }
    Ok(origin == Some("lower_left"))
}

/// φ of every region, degree, where the file has it.
fn angles(source: Source, entry: &Entry, n: usize, notes: &mut Vec<String>) -> Result<Option<Vec<f64>>> {
    let Entry { q_list, phi_list, .. } = entry;
    if !source.exists(phi_list) {
        return Ok(None);
    }
    let mut phi = source.floats(phi_list)?;
    if phi.len() != n {
        let message = format!("expected {n} angles, one per q of {q_list}, found {}", phi.len());
        return Err(source.error(phi_list, message));
    }
    // the definition gives angles the unit of a q, so that one that isn't of angles says nothing
    if source.unit(phi_list)?.and_then(|unit| Quantity::Angle.divisor(&unit)).is_some() {
        source.convert(phi_list, &mut phi, Quantity::Angle, None, notes)?;
    } else {
        notes.push(format!("{phi_list} names no unit of angle; its φ are taken as degrees"));
    }
    Ok(Some(phi))
}

/// Time between frames, s, as the detector says it; `None` where none does, or several disagree.
fn frame_time(source: Source, entry: &Entry, notes: &mut Vec<String>, warnings: &mut Vec<String>) -> Spacing {
    let Entry { instrument, .. } = entry;
    let mut found: Vec<(f64, String)> = Vec::new();
    let mut groups = if source.exists(instrument) { source.members(instrument)? } else { Vec::new() };
    groups.sort_unstable();
    for group in groups {
        let path = format!("{instrument}/{group}/frame_time");
        found.extend(source.seconds(&path, notes)?.map(|time| (time, path)));
    }
    let Some((dt, path)) = found.first().cloned() else { return Ok(None) };
    if let Some((other, at)) = found.iter().find(|(other, _)| *other != dt) {
        warnings.push(format!("the detectors disagree, so that none is believed: {path} {dt} s, {at} {other} s"));
        return Ok(None);
    }
    if !(dt.is_finite() && dt > 0.0) {
        warnings.push(format!("the file's time between frames makes no sense and isn't used: {path} {dt}"));
        return Ok(None);
    }
    Ok(Some((dt, format!("file: {path}"))))
}
