//! The ring of q that a selection picks from a file, and the q that the model takes.

use std::path::Path;

use super::selection::{Found, Purpose, Rings};
use super::{QFrom, Selection, Slot};
use crate::{Error, Result};

/// Values of q closer than this, relatively, are the same ring.
const SAME_RING: f64 = 1e-6;
/// How far q may be from the only ring there is, relatively.
const SINGLE_RING_TOLERANCE: f64 = 0.1;
/// A ring farther than this from the q asked for, relatively, is worth a warning: D differs by twice as much.
const FAR_RING: f64 = 0.01;
/// With fewer bins of a ring than this, the Python package takes those of others, too.
const FEW_BINS: usize = 5;

const Q_KEY: &str = "analyzer_parameters.scattering.wavevector_q";
const Q_FROM_KEY: &str = "analyzer_parameters.scattering.q_from";
const TOLERANCE_KEY: &str = "q_tolerance_fraction";

/// Picks the matrices of the ring that the selection asks for, or of the only one.
pub(super) fn pick(file: &Path, found: &mut Found, selection: &Selection, purpose: Purpose) -> Result<()> {
    check_cut_q(file, found, selection)?;
    let ring = match (selection.q, &found.rings) {
        (Some(q), Rings::PerBin) => return bins_within_tolerance(file, found, q, selection.q_tolerance),
        (Some(q), Rings::Map(_)) => Some(nearest_ring(file, found, q)?),
        (None, _) => only_ring(file, found, purpose)?,
    };
    for slot in &mut found.slots {
        slot.selected = ring.is_none_or(|ring| same(slot.q, ring, SAME_RING));
    }
    Ok(())
}

/// Whether two numbers differ by no more than a part of the larger one.
pub(super) fn same(a: f64, b: f64, tolerance: f64) -> bool {
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
            "no matrix at {Q_KEY} = {q} Å⁻¹: the nearest ring, {} Å⁻¹, is {} % away; rings in the file: {}{}",
            short(ring),
            short((10.0 * off).round() / 10.0),
            ring_list(&found.slots),
            other_unit(q, &stored)
        );
        return Err(Error::data(file, message));
    }
    Ok(ring)
}

/// What to say where a ring is at the q asked for in another unit.
fn other_unit(q: f64, rings: &[f64]) -> String {
    /// Units by which q may be given, and how many of them are in 1/Å.
    const UNITS: [(&str, f64); 3] = [("1/nm", 1e1), ("1/µm", 1e4), ("1/m", 1e10)];
    let is_ring = |q: f64| rings.iter().find(|&&ring| same(ring, q, FAR_RING));
    let hint = UNITS.iter().find_map(|&(unit, divisor)| {
        if let Some(ring) = is_ring(q / divisor) {
            return Some(format!("; in {unit}, {q} would be the ring {}: {Q_KEY} is in 1/Å", short(*ring)));
        }
        let ring = is_ring(q * divisor)?;
        Some(format!(
            "; are the q of the file in {unit}, without a word of it? The ring {} would be the one",
            short(*ring)
        ))
    });
    hint.unwrap_or_default()
}

/// q of the model and where it came from; how far the file's and the configured one are apart, and what that is to D, is noted.
/// NaN where there are several rings and none was asked for.
pub(super) fn wavevector(found: &mut Found, selection: &Selection) -> (f64, String) {
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
            let text =
                format!("q = {q} Å⁻¹ is taken as configured; {} Å⁻¹, {whose}, differs from {near}", short(of_file));
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
            "none of {n} bins lies within {TOLERANCE_KEY} = {tolerance} of {Q_KEY} = {q} Å⁻¹; q in the file: {}{}",
            ring_list(&found.slots),
            other_unit(q, &rings(found.slots.iter().map(|s| s.q)))
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

#[cfg(test)]
mod tests {
    use super::*;

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
