//! What a selection takes from a file, whatever its layout: the angles, the frames, the time step; the q ring is picked in
//! [`super::rings`].

use std::path::Path;

use super::rings::{pick, same, short, wavevector};
use super::{Dataset, Layout, LeftOut, MatrixReader, Selection, Slot};
use crate::file_identity::FileIdentity;
use crate::{Error, Result};

/// Time steps in configuration and file farther apart than this, relatively, are worth a warning.
const SAME_DT: f64 = 1e-6;
/// Angles closer than this, degree, count as lying on the edge of a range.
const ANGLE_ROUNDING: f64 = 1e-9;
/// Fewest frames a fit can use: frame 0 takes no part, and a pair needs two.
const MIN_FRAMES: usize = 3;

const DT_KEY: &str = "analyzer_parameters.dt";
/// φ of matrices in files that hold none.
pub(super) const PHI_KEY: &str = "experimental_data.phi_angles";

/// Time between frames, s, and where it came from, where the file has one. What is wrong with it matters only where the
/// configuration gives none.
pub(super) type Spacing = Result<Option<(f64, String)>>;

/// What a layout found in a file.
pub(super) struct Found {
    /// All matrices, in the order of the file.
    pub slots: Vec<Slot>,
    /// What a ring is here.
    pub rings: Rings,
    /// Frames in the file.
    pub n_frames: usize,
    /// Where the writer has made the selection of frames and q already.
    pub cut: Option<Cut>,
    pub dt: Spacing,
    /// What it probably is, where the file holds only what hints at it, and how that follows.
    pub likely_dt: Option<(f64, String)>,
    /// Frames that the file calls bad, from 0 in the file.
    pub bad_frames: Vec<usize>,
    /// Frames of the measurement that the correlator passed over before the file's first, in frames of the file.
    pub skipped: usize,
    /// Gap, Å.
    pub gap: Option<f64>,
    pub notes: Vec<String>,
    pub warnings: Vec<String>,
    pub reader: Box<dyn MatrixReader>,
}

/// How q is laid out.
pub(super) enum Rings {
    /// A map; all its rings, Å⁻¹, those without matrices included.
    Map(Vec<f64>),
    /// Every bin has a q of its own: a ring is what lies within [`Selection::q_tolerance`].
    PerBin,
}

/// A selection that was made before the file was written, as far as the file tells.
pub(super) struct Cut {
    /// First and last frame of the measurement that are in the file, from 1.
    pub frames: Option<(usize, usize)>,
    /// Wavevector magnitude that was asked for, Å⁻¹.
    pub q: Option<f64>,
}

/// What a file is opened for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// One ring, a known time step.
    Fit,
    /// Whatever there is.
    Inspect,
}

/// Makes the selection.
pub(super) fn select(
    file: &Path,
    layout: Layout,
    mut found: Found,
    selection: &Selection,
    purpose: Purpose,
) -> Result<Dataset> {
    pick(file, &mut found, selection, purpose)?;
    missing_angles(file, &mut found, selection, purpose)?;
    filter_angles(file, &mut found, selection)?;
    found.warnings.extend(unused(layout, selection));
    found.warnings.extend(same_bins(&found, selection));
    let (q, q_source) = wavevector(&mut found, selection);
    let frames_before = found.cut.as_ref().and_then(|cut| cut.frames).map_or(0, |(start, _)| start - 1);
    let (first_frame, n_frames) = match found.cut.take() {
        Some(cut) => cut_frames(file, &mut found, &cut, selection)?,
        None => frames(file, &mut found, selection)?,
    };
    let left_out = left_out(&mut found, selection, n_frames, frames_before + first_frame + 1)?;
    let (dt, dt_source) = time_step(file, &mut found, selection, purpose)?;
    Ok(Dataset {
        file: file.to_path_buf(),
        identity: FileIdentity::of(file).map_err(|e| Error::io("read", file, e))?,
        layout,
        selected: (0..found.slots.len()).filter(|&s| found.slots[s].selected).collect(),
        slots: found.slots,
        q,
        q_source,
        dt,
        dt_source,
        gap: found.gap,
        n_file_frames: found.n_frames,
        first_frame,
        n_frames,
        frames_before,
        skipped: found.skipped,
        left_out,
        compare_halves: selection.compare_halves,
        notes: found.notes,
        warnings: found.warnings,
        reader: found.reader,
    })
}

/// What the configuration says of files of other layouts.
fn unused(layout: Layout, selection: &Selection) -> Vec<String> {
    let unsaid = &selection.unsaid;
    let said = [
        ("experimental_data.baseline_reference", unsaid.baseline.is_some(), Layout::Nxxpcs),
        ("experimental_data.train", unsaid.train.is_some(), Layout::Euxfel),
    ];
    let other = said.into_iter().filter(|(_, is_said, of)| *is_said && *of != layout);
    other.map(|(key, _, of)| format!("{key} isn't used: it is for files of the layout {}", of.name())).collect()
}

/// What to say where matrices are of the same q and φ by the file.
fn same_bins(found: &Found, selection: &Selection) -> Option<String> {
    let mut selected: Vec<&Slot> = found.slots.iter().filter(|slot| slot.selected).collect();
    selected.sort_by(|a, b| a.q.total_cmp(&b.q).then(a.phi.total_cmp(&b.phi)));
    let pair = selected.windows(2).find(|pair| (pair[0].q, pair[0].phi) == (pair[1].q, pair[1].phi))?;
    let (first, second) = (pair[0], pair[1]);
    selection.unsaid.phi.is_none().then(|| {
        format!(
            "{} and {} are both of q = {} Å⁻¹ and φ = {}°: does the file list a bin twice?",
            first.path,
            second.path,
            short(first.q),
            short(first.phi)
        )
    })
}

/// Takes φ from the configuration where the file has none.
fn missing_angles(file: &Path, found: &mut Found, selection: &Selection, purpose: Purpose) -> Result<()> {
    let n = found.slots.len();
    let is_missing = found.slots.iter().any(|slot| slot.phi.is_nan());
    match &selection.unsaid.phi {
        Some(_) if !is_missing => found.warnings.push(format!("{PHI_KEY} isn't used: the file holds φ")),
        Some(phi) if phi.len() == 1 || phi.len() == n => {
            found.slots.iter_mut().enumerate().for_each(|(k, slot)| slot.phi = phi[k % phi.len()]);
            found.notes.push(format!("φ is that of {PHI_KEY}: the file holds none"));
        }
        Some(phi) => {
            let message = format!(
                "holds {n} matrices, but {PHI_KEY} has {} angles; give one for each, in the order of the file, or one for all",
                phi.len()
            );
            return Err(Error::data(file, message));
        }
        None if !is_missing => {}
        None if purpose == Purpose::Inspect => {
            found.warnings.push(format!("the file holds no φ; a fit needs {PHI_KEY}"));
        }
        None => {
            let message = format!(
                "holds no φ for its {n} matrices; give it with {PHI_KEY} (degree): one for each, in the order of the file, \
                 or one for all, as for whole rings"
            );
            return Err(Error::data(file, message));
        }
    }
    Ok(())
}

/// Whether φ lies in a range, edges included, all in degree and modulo 360; a range whose end is below its start wraps.
fn in_range(phi: f64, (min, max): (f64, f64)) -> bool {
    let width = if max < min { (max - min).rem_euclid(360.0) } else { max - min };
    let from_start = (phi - min).rem_euclid(360.0);
    from_start <= width + ANGLE_ROUNDING || from_start >= 360.0 - ANGLE_ROUNDING
}

fn filter_angles(file: &Path, found: &mut Found, selection: &Selection) -> Result<()> {
    let Some(ranges) = &selection.phi_ranges else { return Ok(()) };
    let kept = |slot: &Slot| slot.selected && ranges.iter().any(|&range| in_range(slot.phi, range));
    let n_before = found.slots.iter().filter(|s| s.selected).count();
    let n_kept = found.slots.iter().filter(|s| kept(s)).count();
    let ranges_text: Vec<String> = ranges.iter().map(|(min, max)| format!("{min} to {max}")).collect();
    let ranges_text = ranges_text.join(", ");
    if n_kept > 0 {
        found.slots.iter_mut().for_each(|s| s.selected = kept(s));
        found.notes.push(format!("φ filter ({ranges_text} degree) keeps {n_kept} of {n_before} angles"));
        return Ok(());
    }
    let angles: Vec<String> = found.slots.iter().filter(|s| s.selected).map(|s| short(s.phi)).collect();
    let message = format!(
        "no angle lies in phi_filtering.target_ranges ({ranges_text} degree); angles in the file: {}",
        angles.join(", ")
    );
    if !selection.fallback_to_all_angles {
        return Err(Error::data(file, message));
    }
    found.warnings.push(format!("{message}; all angles are used (phi_filtering.fallback_to_all_angles)"));
    Ok(())
}

/// First selected frame, from 0, and the number of frames.
fn frames(file: &Path, found: &mut Found, selection: &Selection) -> Result<(usize, usize)> {
    let n = found.n_frames;
    if n < MIN_FRAMES {
        return Err(Error::data(file, format!("has {n} frames; a fit needs at least {MIN_FRAMES}")));
    }
    let start = selection.start_frame;
    let asked = selection.end_frame.unwrap_or(n);
    let end = asked.min(n);
    if asked > n {
        found.warnings.push(format!(
            "analyzer_parameters.end_frame {asked} lies beyond the file, which has {n} frames; \
             frame {n} is the last one used"
        ));
    }
    if start < 1 || start >= end || end - start + 1 < MIN_FRAMES {
        let message = format!(
            "analyzer_parameters.start_frame {start} to end_frame {end} are not at least {MIN_FRAMES} frames; {} has frames 1 to {n}",
            file.display()
        );
        return Err(Error::Usage(message));
    }
    Ok((start - 1, end - start + 1))
}

/// All frames of a file that was cut before, where the configuration asks for just these.
fn cut_frames(file: &Path, found: &mut Found, cut: &Cut, selection: &Selection) -> Result<(usize, usize)> {
    let n = found.n_frames;
    if n < MIN_FRAMES {
        return Err(Error::data(file, format!("has {n} frames; a fit needs at least {MIN_FRAMES}")));
    }
    let asked = (selection.start_frame, selection.end_frame);
    let text = match asked.1 {
        Some(end) => format!("analyzer_parameters.start_frame {} to end_frame {end}", asked.0),
        None => format!("analyzer_parameters.start_frame {} to the end", asked.0),
    };
    let Some((start, end)) = cut.frames else {
        // nothing says which frames these are; a range of another length can't be meant
        let fits = match asked {
            (1, None) => true,
            (start, Some(end)) => end >= start && end - start + 1 == n,
            (_, None) => false,
        };
        if !fits {
            let message = format!(
                "is already cut to {n} frames and doesn't say which; {text} are others. \
                 Remove both keys, or read the file that it was made from"
            );
            return Err(Error::data(file, message));
        }
        found
            .notes
            .push(format!("already cut to {n} frames, all of which are used; the file doesn't say which they are"));
        return Ok((0, n));
    };
    let fits = asked == (1, None) || (asked.0 == start && asked.1.is_none_or(|asked| asked == end));
    if !fits {
        let message = format!(
            "is already cut to frames {start} to {end}, but the configuration asks for others: {text}. \
             Set start_frame {start} and end_frame {end}, or read the file that it was made from"
        );
        return Err(Error::data(file, message));
    }
    found.notes.push(format!("already cut to frames {start} to {end} of the measurement, all of which are used"));
    if asked != (1, None) {
        found.notes.push(
            "frames count in the measurement, and a range other than the file's is refused; the Python package takes a cache \
             as it is, whatever frames its metadata name"
                .to_owned(),
        );
    }
    Ok((0, n))
}

/// What the configuration leaves out of `n` frames, the first of which has the number `first`.
fn left_out(found: &mut Found, selection: &Selection, n: usize, first: usize) -> Result<LeftOut> {
    let (mut left_out, warnings) = LeftOut::new(&selection.filter, n, first);
    found.warnings.extend(warnings);
    let in_file = found.cut.as_ref().map_or(first, |_| 1) - 1;
    let bad: Vec<usize> =
        found.bad_frames.iter().filter_map(|frame| frame.checked_sub(in_file)).filter(|&f| f < n).collect();
    if !bad.is_empty() {
        left_out.add(&bad);
        found.warnings.push(format!("{} frames that the file calls bad are left out: {}", bad.len(), left_out.text()));
    }
    if left_out.pairs_of_fit() > 0 {
        return Ok(left_out);
    }
    let message = format!(
        "data_filtering leaves no pair of the frames {first} to {} to be fitted (left out: {}); \
         exclude fewer frames or widen min_lag_frames to max_lag_frames",
        first + n - 1,
        left_out.text()
    );
    Err(Error::Usage(message))
}

/// What an error of a file says, where the file has been named.
fn without_file(error: &Error) -> String {
    match error {
        Error::Data { path: Some(path), message, .. } => format!("{path}: {message}"),
        other => other.to_string(),
    }
}

fn time_step(file: &Path, found: &mut Found, selection: &Selection, purpose: Purpose) -> Result<(f64, String)> {
    match (selection.dt, &found.dt) {
        (Some(dt), _) if !(dt.is_finite() && dt > 0.0) => {
            Err(Error::Usage(format!("{DT_KEY}: expected a positive time in seconds, found {dt}")))
        }
        (Some(dt), in_file) => {
            match in_file {
                Ok(Some((other, source))) if !same(dt, *other, SAME_DT) => {
                    found.warnings.push(format!("{DT_KEY} = {dt} s is used, but the file says {other} s ({source})"))
                }
                Ok(_) => {}
                Err(error) => found.warnings.push(format!(
                    "{DT_KEY} = {dt} s is used; what the file says can't be read: {}",
                    without_file(error)
                )),
            }
            if let Some((likely, source)) = found.likely_dt.take_if(|(likely, _)| !same(dt, *likely, SAME_DT)) {
                found.warnings.push(format!(
                    "{DT_KEY} = {dt} s is used, but frames of this file are probably {} s apart ({source})",
                    short(likely)
                ));
            }
            Ok((dt, format!("configuration: {DT_KEY}")))
        }
        (None, Ok(Some((dt, source)))) => Ok((*dt, source.clone())),
        (None, Err(error)) if purpose == Purpose::Inspect => {
            found
                .warnings
                .push(format!("the time between frames can't be read: {}; a fit needs {DT_KEY}", without_file(error)));
            Ok((f64::NAN, format!("not known; a fit needs {DT_KEY}")))
        }
        (None, Err(error)) => Err(error.clone()),
        (None, Ok(None)) if purpose == Purpose::Inspect => {
            Ok((f64::NAN, format!("not in the file; a fit needs {DT_KEY}")))
        }
        (None, Ok(None)) => {
            let likely = found.likely_dt.as_ref().map_or_else(String::new, |(likely, source)| {
                format!("; it is probably {} s ({source})", short(*likely))
            });
            Err(Error::data(file, format!("has no time between frames; give it with {DT_KEY} (seconds){likely}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn angles_wrap() {
        for (phi, range, inside) in [
            (359.0, (-10.0, 10.0), true),
            (-1.0, (-10.0, 10.0), true),
            (11.0, (-10.0, 10.0), false),
            (-10.0, (-10.0, 10.0), true),
            (10.0, (-10.0, 10.0), true),
            (-10.0 - 1e-12, (-10.0, 10.0), true),
            (10.0 + 1e-12, (-10.0, 10.0), true),
            (-175.0, (170.0, 190.0), true),
            (-175.0, (170.0, -170.0), true),
            (0.0, (170.0, -170.0), false),
            (123.0, (-180.0, 180.0), true),
            (-180.0, (90.0, 180.0), true),
        ] {
            assert_eq!(in_range(phi, range), inside, "{phi} in {range:?}");
        }
    }
}
