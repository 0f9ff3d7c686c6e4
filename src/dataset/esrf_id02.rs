//! Result files of ID02 at the ESRF: `MagicString` XPCSResultFile_v2.0.
//!
//! `/entry_0000/correlations/<analysis>/twotime/ttcf` holds a matrix for every q of `<analysis>/parameters/q`, in nm⁻¹. Where
//! `age` and `lag` (s) lie beside it, its dimensions are (q, age, lag), and a value belongs to the times age ∓ lag/2, as the
//! beamline's own programs have it; [`super::aged`] brings it to (t1, t2). Without them it must be (q, t1, t2).

use super::aged::Aged;
use super::hdf::{Source, shape_text};
use super::selection::{Found, Purpose, Rings};
use super::squares::{Order, Squares};
use super::wavevectors::{Bins, Custom, used, wavevectors};
use super::{MatrixReader, Slot};
use crate::Result;

/// The group of the analyses.
pub(super) const ANALYSES: &str = "/entry_0000/correlations";
const MAGIC: &str = "XPCSResultFile_v2.0";
const KEY: &str = "experimental_data.exchange_key";
const PER_NM: Custom =
    Custom { divisor: 10.0, remark: "names no units; its q are taken as nm⁻¹, as ID02 writes them" };
const HINT: &str = " (without the lists `age` and `lag` beside it, ttcf must be over t1 and t2)";

/// Reads and checks all metadata. `exchange_key` is the configured analysis.
pub(super) fn find(source: Source, exchange_key: Option<&str>, purpose: Purpose) -> Result<Found> {
    match source.attribute_text("/", "MagicString")? {
        Some(magic) if magic.trim_matches(|c: char| c == '\0' || c.is_whitespace()) == MAGIC => {}
        found => {
            let found = found.map_or_else(|| "none".to_owned(), |magic| format!("{magic:?}"));
            return Err(source.error("/ attribute MagicString", format!("expected {MAGIC:?}, found {found}")));
        }
    }
    let (mut notes, mut warnings) = (Vec::new(), Vec::new());
    let analysis = analysis(source, exchange_key, purpose, &mut notes, &mut warnings)?;
    let folder = format!("{ANALYSES}/{analysis}/twotime");
    let path = format!("{folder}/ttcf");
    let (age, lag) = (format!("{folder}/age"), format!("{folder}/lag"));
    let (paths, n_frames, dt, reader): (Vec<String>, usize, _, Box<dyn MatrixReader>) =
        match (source.exists(&age), source.exists(&lag)) {
            (true, true) => {
                let aged = Aged::new(source, &path, &age, &lag, &mut notes)?;
                notes.push(format!("{path} is over (age, lag): a value belongs to the times age ∓ lag/2"));
                notes.extend(aged.rounding());
                let dt = Some((aged.dt, format!("file: steps of {lag}")));
                (aged.paths().collect(), aged.n_frames, dt, Box::new(aged))
            }
            (false, false) => {
                let mut squares = Squares::new(source.file);
                squares.hint = HINT;
                squares.add_stack(source, &path, Order::First)?;
                notes.push(format!("{path} is over (t1, t2): there is neither {age} nor {lag}"));
                notes.extend(squares.rounding());
                (squares.paths().map(str::to_owned).collect(), squares.n_frames(), None, Box::new(squares))
            }
            (has_age, _) => {
                let (there, missing) = if has_age { (age, lag) } else { (lag, age) };
                return Err(
                    source.error(&missing, format!("is missing, although {there} is there: (age, lag) needs both"))
                );
            }
        };
    let of_q = format!("{ANALYSES}/{analysis}/parameters/q");
    let Bins { q, phi, remark } = wavevectors(source, &of_q, paths.len(), PER_NM, &mut notes)?;
    notes.extend(remark);
    let slot = |(at, path): (usize, String)| -> Result<Slot> {
        let q = used(source, &of_q, at, q[at])?;
        Ok(Slot { path, bin: None, q, phi: phi.as_ref().map_or(f64::NAN, |phi| phi[at]), selected: false })
    };
    let slots = paths.into_iter().enumerate().map(slot).collect::<Result<_>>()?;
    Ok(Found {
        slots,
        rings: Rings::Map(q),
        n_frames,
        cut: None,
        dt: Ok(dt),
        likely_dt: None,
        bad_frames: Vec::new(),
        skipped: 0,
        gap: None,
        notes,
        warnings,
        reader,
    })
}

/// The analysis with two-time data: the only one, or the configured one of several.
fn analysis(
    source: Source,
    exchange_key: Option<&str>,
    purpose: Purpose,
    notes: &mut Vec<String>,
    warnings: &mut Vec<String>,
) -> Result<String> {
    let mut there = source.members(ANALYSES)?;
    there.retain(|name| source.exists(&format!("{ANALYSES}/{name}/twotime/ttcf")));
    there.sort_unstable();
    let wanted = exchange_key.and_then(|key| key.trim_matches('/').rsplit('/').next());
    match (&there[..], wanted) {
        ([], _) => Err(source.error(ANALYSES, "holds no <analysis>/twotime/ttcf: no two-time data were saved")),
        (_, Some(wanted)) if there.iter().any(|name| name == wanted) => Ok(wanted.to_owned()),
        ([only], _) => {
            // configurations for other layouts name this one
            if wanted.is_some_and(|wanted| wanted != "exchange") {
                warnings.push(format!("{KEY} isn't used: the only analysis with two-time data is {only}"));
            }
            Ok(only.clone())
        }
        ([first, ..], None) if purpose == Purpose::Inspect => {
            let all = there.join(", ");
            notes.push(format!("analyses with two-time data: {all}; {first} is shown, a fit needs {KEY}"));
            Ok(first.clone())
        }
        _ => {
            let message =
                format!("holds two-time data of several analyses: {}; choose one with {KEY}", there.join(", "));
            Err(source.error(ANALYSES, message))
        }
    }
}

/// The sizes of (q, age, lag), each at least 1.
pub(super) fn dimensions(source: Source, path: &str, n_ages: usize, n_lags: usize) -> Result<[usize; 3]> {
    let shape = source.shape(path)?;
    match shape[..] {
        // of one q, without a dimension for it
        [ages, lags] if ages == n_ages && lags == n_lags => Ok([1, ages, lags]),
        [n_q, ages, lags] if n_q > 0 && ages == n_ages && lags == n_lags => Ok([n_q, ages, lags]),
        _ => {
            let found = shape_text(&shape);
            Err(source.error(
                path,
                format!("expected the shape (K, {n_ages}, {n_lags}), one per q, age and lag, found {found}"),
            ))
        }
    }
}
