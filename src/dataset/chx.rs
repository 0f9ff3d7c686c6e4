//! Result files of CHX at NSLS-II, exported by pyCHX.
//!
//! `/g12b` (t, t, q) holds the matrices, q last. The attributes of `/qval_dict` are named by the index of a matrix and hold
//! its q in Å⁻¹, followed by φ in degree where rings are cut into sectors. At grazing incidence the second number is the
//! vertical part of q instead. `/md` has the metadata as attributes, numbers often as text.

use super::Slot;
use super::hdf::{Source, shape_text};
use super::selection::{Found, PHI_KEY, Rings, Spacing};
use super::squares::{Order, Squares};
use crate::Result;

/// The stack of matrices.
pub(super) const C2: &str = "/g12b";
const BINS: &str = "/qval_dict";
const METADATA: &str = "/md";
/// Time between frames in the metadata, s.
const PERIODS: [&str; 2] = ["acquire period", "frame_time"];
/// Where the metadata may name the geometry.
const GEOMETRIES: [&str; 3] = ["scat_geometry", "geometry", "analysis"];
/// Frames of a bad image, from 0.
const BAD_FRAMES: &str = "/bad_frame_list";
/// Written for grazing incidence only.
const GRAZING: &str = "/qr_1d_pds";
/// Written for transmission only.
const TRANSMISSION: [&str; 2] = ["/q_saxs", "/iq_saxs"];

/// Reads and checks all metadata.
pub(super) fn find(source: Source) -> Result<Found> {
    let (mut notes, mut warnings) = (Vec::new(), Vec::new());
    let mut squares = Squares::new(source.file);
    squares.add_stack(source, C2, Order::Last)?;
    let n = squares.paths().count();
    let bins = bins(source, n, &mut notes)?;
    let has_second = bins[0].len() == 2;
    let is_angle = has_second && second_is_angle(source, &mut notes)?;
    if has_second && !is_angle {
        warnings.push(format!(
            "the second numbers of {BINS} may be φ or a part of q, which nothing in the file says; where they are φ, give \
             them with {PHI_KEY}"
        ));
    }
    let slot = |(k, (path, bin)): (usize, (&str, &Vec<f64>))| Slot {
        path: path.to_owned(),
        bin: Some(k as i64),
        q: bin[0],
        phi: if is_angle { bin[1] } else { f64::NAN },
        selected: false,
    };
    let slots: Vec<Slot> = squares.paths().zip(&bins).enumerate().map(slot).collect();
    notes.push(format!("matrices lie along the last dimension of {C2}; their index leads to q in {BINS} (Å⁻¹)"));
    notes.extend(squares.rounding());
    let dt = period(source, &mut warnings);
    Ok(Found {
        rings: Rings::Map(slots.iter().map(|slot| slot.q).collect()),
        slots,
        n_frames: squares.n_frames(),
        cut: None,
        dt,
        likely_dt: None,
        bad_frames: bad_frames(source)?,
        skipped: 0,
        gap: None,
        notes,
        warnings,
        reader: Box::new(squares),
    })
}

/// The one or two numbers of every matrix.
fn bins(source: Source, n: usize, notes: &mut Vec<String>) -> Result<Vec<Vec<f64>>> {
    let mut bins: Vec<Option<Vec<f64>>> = vec![None; n];
    let mut others = 0;
    for name in source.attribute_names(BINS)? {
        match name.parse::<usize>().ok().and_then(|k| bins.get_mut(k)) {
            Some(bin) => *bin = source.attribute_numbers(BINS, &name)?,
            None => others += 1,
        }
    }
    let shape = source.shape(C2)?;
    if others > 0 && shape.len() == 2 {
        let message = format!("of {} is one matrix, but {BINS} describes {}", shape_text(&shape), n + others);
        return Err(source.error(C2, message));
    }
    if others > 0 {
        notes.push(format!("{others} attributes of {BINS} belong to none of the {n} matrices"));
    }
    let mut known: Vec<Vec<f64>> = Vec::with_capacity(n);
    for (k, bin) in bins.into_iter().enumerate() {
        let place = format!("{BINS} attribute {k}");
        let bin = bin.ok_or_else(|| source.error(&place, format!("is missing; {C2} holds {n} matrices")))?;
        let expected = known.first().map_or(bin.len().clamp(1, 2), Vec::len);
        if bin.len() != expected {
            let message = format!("expected q, or q and φ, alike for all matrices, found {} numbers", bin.len());
            return Err(source.error(&place, message));
        }
        if bin.iter().any(|v| !v.is_finite()) || bin[0] <= 0.0 {
            return Err(source.error(&place, format!("expected a positive q and finite numbers, found {bin:?}")));
        }
        known.push(bin);
    }
    Ok(known)
}

/// Whether the second number of a matrix is φ; an error where it is known to be something else.
fn second_is_angle(source: Source, notes: &mut Vec<String>) -> Result<bool> {
    let grazing = |place: &str| {
        let message = format!("is of grazing incidence, where {BINS} holds parts of q: its modulus and φ aren't known");
        source.error(place, message)
    };
    if source.exists(GRAZING) {
        return Err(grazing(GRAZING));
    }
    if source.exists(METADATA) {
        for name in GEOMETRIES {
            // metadata of that name that aren't text say something else
            let Ok(Some(text)) = source.attribute_text(METADATA, name) else { continue };
            let text = text.to_lowercase();
            if text.contains("gi_saxs") || text.contains("gisaxs") || text.contains("gi_waxs") {
                return Err(grazing(&format!("{METADATA} attribute {name}")));
            }
            if text.contains("ang_saxs") || text.contains("phi") {
                notes.push(format!("the second numbers of {BINS} are φ in degree: {METADATA} says {name} = {text}"));
                return Ok(true);
            }
        }
    }
    let transmission = TRANSMISSION.iter().find(|path| source.exists(path));
    if let Some(path) = transmission {
        notes.push(format!("the second numbers of {BINS} are φ in degree: {path} is of transmission"));
    }
    Ok(transmission.is_some())
}

/// Frames that were taken out of the averages as bad, from 0.
fn bad_frames(source: Source) -> Result<Vec<usize>> {
    if !source.exists(BAD_FRAMES) || source.is_empty(BAD_FRAMES)? {
        return Ok(Vec::new());
    }
    let frames = source.integers(BAD_FRAMES)?;
    frames
        .into_iter()
        .map(|frame| {
            let message = || format!("expected frames counted from 0, found {frame}");
            usize::try_from(frame).map_err(|_| source.error(BAD_FRAMES, message()))
        })
        .collect()
}

/// Time between frames, s.
fn period(source: Source, warnings: &mut Vec<String>) -> Spacing {
    if !source.exists(METADATA) {
        return Ok(None);
    }
    for name in PERIODS {
        let place = format!("{METADATA} attribute {name}");
        match source.attribute_number(METADATA, name)? {
            Some(dt) if dt.is_finite() && dt > 0.0 => return Ok(Some((dt, format!("file: {place}")))),
            Some(dt) => {
                warnings.push(format!("the file's time between frames makes no sense and isn't used: {place} {dt}"))
            }
            None => {}
        }
    }
    Ok(None)
}
