//! What a selection takes from a file, whatever its layout: the q ring, the angles, the frames, the time step.

use std::path::Path;

use super::{Dataset, Layout, LeftOut, MatrixReader, QFrom, Selection, Slot};
use crate::files::FileIdentity;
use crate::{Error, Result};

/// Values of q closer than this, relatively, are the same ring.
const SAME_RING: f64 = 1e-6;
/// How far q may be from the only ring there is, relatively.
const SINGLE_RING_TOLERANCE: f64 = 0.1;
/// A ring farther than this from the q asked for, relatively, is worth a warning: D differs by twice as much.
const FAR_RING: f64 = 0.01;
/// With fewer bins of a ring than this, the Python package takes those of others, too.
const FEW_BINS: usize = 5;
/// Time steps in configuration and file farther apart than this, relatively, are worth a warning.
const SAME_DT: f64 = 1e-6;
/// Angles closer than this, degree, count as lying on the edge of a range.
const ANGLE_ROUNDING: f64 = 1e-9;
/// Fewest frames a fit can use: frame 0 takes no part, and a pair needs two.
const MIN_FRAMES: usize = 3;

const Q_KEY: &str = "analyzer_parameters.scattering.wavevector_q";
const Q_FROM_KEY: &str = "analyzer_parameters.scattering.q_from";
const TOLERANCE_KEY: &str = "q_tolerance_fraction";
const DT_KEY: &str = "analyzer_parameters.dt";
/// φ of matrices in files that hold none.
pub(super) const PHI_KEY: &str = "experimental_data.phi_angles";

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
    /// Time between frames, s, and where it came from.
    pub dt: Option<(f64, String)>,
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
    check_cut_q(file, &found, selection)?;
    match (selection.q, &found.rings) {
        (Some(q), Rings::PerBin) => bins_within_tolerance(file, &mut found, q, selection.q_tolerance)?,
        (wanted, _) => {
            let ring = match wanted {
                Some(q) => Some(nearest_ring(file, &found, q)?),
                None => only_ring(file, &found, purpose)?,
            };
            for slot in &mut found.slots {
                slot.selected = ring.is_none_or(|ring| same(slot.q, ring, SAME_RING));
            }
        }
    }
    missing_angles(file, &mut found, selection, purpose)?;
    filter_angles(file, &mut found, selection)?;
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
        left_out,
        compare_halves: selection.compare_halves,
        notes: found.notes,
        warnings: found.warnings,
        reader: found.reader,
    })
}

fn same(a: f64, b: f64, tolerance: f64) -> bool {
    (a - b).abs() <= tolerance * a.abs().max(b.abs())
}

/// A number to six digits, without trailing zeros.
pub(crate) fn short(x: f64) -> String {
    format!("{x:.5e}").parse::<f64>().map_or_else(|_| x.to_string(), |rounded| rounded.to_string())
}

/// The distinct values of q, ascending.
pub(crate) fn rings(q: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut rings: Vec<f64> = q.collect();
    rings.sort_by(f64::total_cmp);
    rings.dedup_by(|a, b| same(*a, *b, SAME_RING));
    rings
}

fn ring_list(slots: &[Slot]) -> String {
    let list: Vec<String> = rings(slots.iter().map(|s| s.q)).into_iter().map(short).collect();
    format!("{} Å⁻¹", list.join(", "))
}

/// The ring nearest to q, unless it is farther than half the spacing to its neighbour in the map (a tenth of q for the
/// only ring): then another ring was meant, one that isn't in the file.
fn nearest_ring(file: &Path, found: &Found, q: f64) -> Result<f64> {
    let stored = rings(found.slots.iter().map(|s| s.q));
    let distance = |ring: &f64| (ring - q).abs();
    let Some(&ring) = stored.iter().min_by(|a, b| distance(a).total_cmp(&distance(b))) else {
        return Err(Error::data(file, "holds no matrices"));
    };
    let map: &[f64] = if let Rings::Map(q) = &found.rings { q } else { &[] };
    let known = rings(map.iter().copied().chain(stored.iter().copied()));
    let spacing = known
        .iter()
        .filter(|&&other| !same(other, ring, SAME_RING))
        .map(|other| (other - ring).abs())
        .min_by(f64::total_cmp);
    let reach = spacing.map_or(SINGLE_RING_TOLERANCE * ring, |s| 0.5 * s);
    if q.is_nan() || distance(&ring) > reach * (1.0 + SAME_RING) {
        let off = 100.0 * (ring - q).abs() / q.abs();
        let message = format!(
            "no matrix at {Q_KEY} = {q} Å⁻¹: the nearest ring, {} Å⁻¹, is {} % away; rings in the file: {}",
            short(ring),
            short((10.0 * off).round() / 10.0),
            ring_list(&found.slots)
        );
        return Err(Error::data(file, message));
    }
    Ok(ring)
}

/// q of the model and where it came from; how far the file's and the configured one are apart, and what that is to D, is noted.
/// NaN where there are several rings and none was asked for.
fn wavevector(found: &mut Found, selection: &Selection) -> (f64, String) {
    let of_slots: Vec<f64> = found.slots.iter().filter(|slot| slot.selected).map(|slot| slot.q).collect();
    let values = rings(of_slots.iter().copied());
    let (of_file, whose) = match values[..] {
        [ring] => (ring, "the ring of the file".to_owned()),
        _ => (of_slots.iter().sum::<f64>() / of_slots.len() as f64, format!("the mean of {} bins", of_slots.len())),
    };
    let Some(q) = selection.q else {
        return (if values.len() == 1 { of_file } else { f64::NAN }, whose);
    };
    let configured = format!("configuration: {Q_KEY}");
    if same(of_file, q, SAME_RING) {
        found.notes.push(format!("q = {} Å⁻¹, {whose}, is as configured", short(of_file)));
        return (q, configured);
    }
    let near = format!("{Q_KEY} = {q} Å⁻¹ by {} %", percent(of_file / q - 1.0));
    // what the one who takes the other q finds: D goes with 1/q²
    let (taken, ratio, text) = match selection.q_from {
        QFrom::File => {
            let text = format!("q = {} Å⁻¹ is taken, {whose}, which differs from {near}", short(of_file));
            (
                (of_file, whose),
                (of_file / q).powi(2),
                format!("{text}; with the configured value ({Q_FROM_KEY}: config)"),
            )
        }
        QFrom::Config => {
            let text = format!("q = {q} Å⁻¹ is taken as configured; {}, {whose}, differs from {near}", short(of_file));
            ((q, configured), (q / of_file).powi(2), format!("{text}; with the file's value ({Q_FROM_KEY}: file)"))
        }
    };
    let change = if ratio < 1.0 { "smaller" } else { "larger" };
    let text = format!("{text} D would be {} % {change}", percent(ratio - 1.0));
    if (of_file - q).abs() > FAR_RING * q {
        found.warnings.push(text);
    } else {
        found.notes.push(text);
    }
    taken
}

/// A part in percent, without sign, to two digits.
fn percent(part: f64) -> f64 {
    let percent = 100.0 * part.abs();
    format!("{percent:.1e}").parse().unwrap_or(percent)
}

/// Selects the bins whose q lies within a fraction of the q asked for.
fn bins_within_tolerance(file: &Path, found: &mut Found, q: f64, tolerance: f64) -> Result<()> {
    let n = found.slots.len();
    for slot in &mut found.slots {
        slot.selected = (slot.q - q).abs() <= tolerance * q * (1.0 + SAME_RING);
    }
    let matched = rings(found.slots.iter().filter(|s| s.selected).map(|s| s.q));
    let n_matched = found.slots.iter().filter(|s| s.selected).count();
    let (Some(&least), Some(&most)) = (matched.first(), matched.last()) else {
        let message = format!(
            "none of {n} bins lies within {TOLERANCE_KEY} = {tolerance} of {Q_KEY} = {q} Å⁻¹; q in the file: {}",
            ring_list(&found.slots)
        );
        return Err(Error::data(file, message));
    };
    let range = if matched.len() == 1 { short(least) } else { format!("{} to {}", short(least), short(most)) };
    let text = format!(
        "{n_matched} of {n} bins lie within {TOLERANCE_KEY} = {tolerance} of {Q_KEY} = {q} Å⁻¹: q = {range} Å⁻¹"
    );
    if (q - least).max(most - q) > FAR_RING * q {
        found.warnings.push(format!("{text}; the model takes one q for all of them"));
    } else {
        found.notes.push(text);
    }
    if n_matched < FEW_BINS && n > n_matched && found.cut.is_none() {
        found.notes.push(format!(
            "bins of other q are left alone; where fewer than {FEW_BINS} match, the Python package takes the 10 nearest of any q"
        ));
    }
    Ok(())
}

/// Refuses a file that was cut for another q than the one asked for.
fn check_cut_q(file: &Path, found: &Found, selection: &Selection) -> Result<()> {
    let made_for = found.cut.as_ref().and_then(|cut| cut.q);
    match (made_for, selection.q) {
        (Some(made_for), Some(q)) if !same(made_for, q, SAME_RING) => {
            let message = format!(
                "was cut for q = {made_for} Å⁻¹, but {Q_KEY} is {q} Å⁻¹; set it to {made_for}, or read the file that it was made from"
            );
            Err(Error::data(file, message))
        }
        _ => Ok(()),
    }
}

/// The only ring; several are all kept for inspection (`None`) and an error otherwise.
fn only_ring(file: &Path, found: &Found, purpose: Purpose) -> Result<Option<f64>> {
    match rings(found.slots.iter().map(|s| s.q))[..] {
        [] => Err(Error::data(file, "holds no matrices")),
        [ring] => Ok(Some(ring)),
        _ if purpose == Purpose::Inspect => Ok(None),
        _ => {
            let message = format!("holds several q rings: {}; choose one with {Q_KEY}", ring_list(&found.slots));
            Err(Error::data(file, message))
        }
    }
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
    let (left_out, warnings) = LeftOut::new(&selection.filter, n, first);
    found.warnings.extend(warnings);
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

fn time_step(file: &Path, found: &mut Found, selection: &Selection, purpose: Purpose) -> Result<(f64, String)> {
    match (selection.dt, &found.dt) {
        (Some(dt), _) if !(dt.is_finite() && dt > 0.0) => {
            Err(Error::Usage(format!("{DT_KEY}: expected a positive time in seconds, found {dt}")))
        }
        (Some(dt), in_file) => {
            if let Some((other, source)) = in_file
                && !same(dt, *other, SAME_DT)
            {
                found.warnings.push(format!("{DT_KEY} = {dt} s is used, but the file says {other} s ({source})"));
            }
            Ok((dt, format!("configuration: {DT_KEY}")))
        }
        (None, Some((dt, source))) => Ok((*dt, source.clone())),
        (None, None) if purpose == Purpose::Inspect => Ok((f64::NAN, format!("not in the file; a fit needs {DT_KEY}"))),
        (None, None) => Err(Error::data(file, format!("has no time between frames; give it with {DT_KEY} (seconds)"))),
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

    #[test]
    fn numbers_are_short() {
        assert_eq!(short(0.0025892932882706082), "0.00258929");
        assert_eq!(short(0.0054), "0.0054");
        assert_eq!(short(-148.6142440472529), "-148.614");
    }

    #[test]
    fn rounding_makes_no_rings() {
        assert_eq!(rings([0.0054, 0.0027, 0.0054 + 1e-12].into_iter()).len(), 2);
    }
}
