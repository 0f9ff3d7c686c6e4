//! What to take from which file: frames, wavevector, angles, and where the file lies.

use std::path::{Path, PathBuf};

use super::document::{Document, Spot, figure};
use super::node::{Node, Place, Value};
use super::overrides::DATA_FILE;
use crate::Result;
use crate::dataset::{Baseline, DataFilter, Layout, QFrom, Selection, Train, Unsaid};

/// The selection that the document describes.
///
/// # Errors
/// Frames that are none or run backwards, q or dt that aren't positive, angle ranges without both ends.
pub(super) fn selection(document: &Document) -> Result<Selection> {
    let start = document.whole("analyzer_parameters.start_frame", 1, i64::MAX)?;
    let start_frame = start.map_or(1, |spot| spot.value);
    let end = document.whole("analyzer_parameters.end_frame", -1, i64::MAX)?.filter(|spot| spot.value != -1);
    if let Some(end) = end {
        if end.value == 0 {
            let message = "`analyzer_parameters.end_frame` must be a frame from 1, or -1 for the last, found 0";
            return Err(document.error(end.place, message));
        }
        if start_frame >= end.value {
            let message = format!(
                "`analyzer_parameters.start_frame` ({start_frame}) must be less than `end_frame` ({}); -1 means the last",
                end.value
            );
            return Err(document.error(start.map_or(end.place, |spot| spot.place), message));
        }
    }
    Ok(Selection {
        layout: document
            .choice("experimental_data.file_format")?
            .and_then(|word| Layout::ALL.into_iter().find(|layout| layout.key() == word)),
        q: document.positive("analyzer_parameters.scattering.wavevector_q", " (in 1/Å), or null to take the file's")?,
        q_from: match document.choice("analyzer_parameters.scattering.q_from")? {
            Some("config") => QFrom::Config,
            _ => QFrom::File,
        },
        q_tolerance: document.positive("q_tolerance_fraction", "")?.unwrap_or(Selection::default().q_tolerance),
        exchange_key: document
            .text("experimental_data.exchange_key")?
            .map(|spot| spot.value.trim().to_owned())
            .filter(|key| !key.is_empty()),
        unsaid: unsaid(document)?,
        start_frame: start_frame as usize,
        end_frame: end.map(|spot| spot.value as usize),
        dt: document.positive("analyzer_parameters.dt", " (in seconds), or null to take the file's")?,
        phi_ranges: phi_ranges(document)?,
        fallback_to_all_angles: document.flag("phi_filtering.fallback_to_all_angles", false)?,
        filter: filter(document)?,
        compare_halves: !document.flag("performance.fast_mode", false)?,
    })
}

/// What the data file may leave open.
fn unsaid(document: &Document) -> Result<Unsaid> {
    const PHI: &str = "experimental_data.phi_angles";
    const TRAIN: &str = "experimental_data.train";
    let phi = match document.get(PHI) {
        None => None,
        Some(node) => Some(match node.as_list() {
            None => vec![document.finite(PHI, node)?.value],
            Some(items) => {
                let angle = |(i, item)| Ok(document.finite(&format!("{PHI}[{i}]"), item)?.value);
                items.iter().enumerate().map(angle).collect::<Result<_>>()?
            }
        }),
    };
    let train = match document.get(TRAIN).map(|node| (node, node.as_text(), node.as_whole())) {
        None => None,
        Some((_, Some(word), _)) if word.trim().eq_ignore_ascii_case("mean") => Some(Train::Mean),
        Some((_, _, Some(number))) if number >= 1 => Some(Train::One(number as usize)),
        Some((node, ..)) => return Err(document.wrong(TRAIN, node, "the number of a train, from 1, or `mean`")),
    };
    let baseline = document.whole("experimental_data.baseline_reference", 0, 1)?;
    let baseline = baseline.map(|spot| if spot.value == 0 { Baseline::Zero } else { Baseline::One });
    Ok(Unsaid { phi: phi.filter(|phi: &Vec<f64>| !phi.is_empty()), baseline, train })
}

/// Frames and lags to leave out.
fn filter(document: &Document) -> Result<DataFilter> {
    const FRAMES: &str = "data_filtering.exclude_frames";
    let items = document.list(FRAMES)?.unwrap_or_default();
    let range = |(i, item): (usize, &Node)| {
        if item.is_reported() {
            return Ok(None);
        }
        match frame_range(item) {
            Some((from, to)) if from >= 1 && from <= to => Ok(Some((from, to))),
            Some((from, to)) if from > to => {
                Err(document.error(item.place, format!("`{FRAMES}[{i}]` runs backwards: write `{to}-{from}`")))
            }
            _ => {
                let expected = "a frame from 1, such as `57`, or a range of frames, such as `120-140`";
                Err(document.wrong(&format!("{FRAMES}[{i}]"), item, expected))
            }
        }
    };
    let frames = items.iter().enumerate().filter_map(|item| range(item).transpose()).collect::<Result<_>>()?;
    // a lag of one frame is the shortest there is: the diagonal never takes part
    let min_lag = document.whole("data_filtering.min_lag_frames", 0, i64::MAX)?;
    let max_lag = document.whole("data_filtering.max_lag_frames", 1, i64::MAX)?;
    if let (Some(min), Some(max)) = (min_lag, max_lag)
        && min.value > max.value
    {
        let message = format!(
            "`data_filtering.min_lag_frames` ({}) must not be greater than `max_lag_frames` ({})",
            min.value, max.value
        );
        return Err(document.error(min.place, message));
    }
    if !document.flag("data_filtering.enabled", true)? {
        return Ok(DataFilter::default());
    }
    Ok(DataFilter {
        frames,
        min_lag: min_lag.map_or(1, |spot| spot.value.max(1) as usize),
        max_lag: max_lag.map(|spot| spot.value as usize),
    })
}

/// A frame or a range of frames; `None` where it is neither.
fn frame_range(item: &Node) -> Option<(usize, usize)> {
    if let Some(frame) = item.as_whole() {
        let frame = usize::try_from(frame).ok()?;
        return Some((frame, frame));
    }
    let (from, to) = item.as_text()?.split_once('-')?;
    Some((from.trim().parse().ok()?, to.trim().parse().ok()?))
}

/// Whether ranges of φ are in force, and what they are.
const ENABLED: &str = "phi_filtering.enabled";
const RANGES: &str = "phi_filtering.target_ranges";

/// What to warn about where ranges of φ are given, but nothing says whether they are in force.
///
/// # Errors
/// Where they are no list.
pub(super) fn idle_ranges(document: &Document) -> Result<Option<String>> {
    if document.get(ENABLED).is_some() || document.list(RANGES)?.is_none_or(<[Node]>::is_empty) {
        return Ok(None);
    }
    let place = document.get(RANGES).unwrap_or(&document.root).place;
    Ok(Some(format!(
        "{}: `{RANGES}` has no effect, and all angles are fitted: set `{ENABLED}` to true, or to false to say so",
        document.source.show(place)
    )))
}

/// The ranges of φ to keep, degree; `None` while the filter is off. A range may run across ±180 and so end below its
/// beginning.
fn phi_ranges(document: &Document) -> Result<Option<Vec<(f64, f64)>>> {
    if !document.flag(ENABLED, false)? {
        return Ok(None);
    }
    let items = document.list(RANGES)?.unwrap_or_default();
    if document.reported(RANGES) {
        return Ok(None);
    }
    if items.is_empty() {
        let message = format!("`{ENABLED}` is true, but `{RANGES}` names no range");
        let place = document.get(RANGES).or(document.get(ENABLED)).unwrap_or(&document.root).place;
        return Err(document.error(place, message));
    }
    let range = |(i, item): (usize, &Node)| {
        if item.is_reported() {
            return Ok((0.0, 0.0));
        }
        let path = format!("{RANGES}[{i}]");
        if !matches!(item.value, Value::Section(_)) {
            return Err(document.wrong(&path, item, "a section with `min_angle` and `max_angle`"));
        }
        let end = |key: &str| match item.get(key).filter(|n| !n.is_null()) {
            None if item.get(key).is_some_and(Node::is_reported) => Ok(0.0),
            Some(node) => Ok(document.finite(&format!("{path}.{key}"), node)?.value),
            None => Err(document.error(item.place, format!("`{path}` has no `{key}`"))),
        };
        Ok((end("min_angle")?, end("max_angle")?))
    };
    items.iter().enumerate().map(range).collect::<Result<_>>().map(Some)
}

/// The gap of the shear cell, Å; where the model has shear and the file names none, the data file must.
pub(super) fn gap(document: &Document, has_shear: bool) -> Result<Option<f64>> {
    const GAP: &str = "analyzer_parameters.geometry.stator_rotor_gap";
    match document.number(GAP)? {
        Some(spot) if spot.value > 0.0 => Ok(Some(spot.value)),
        // Files for static modes may hold a placeholder.
        Some(_) if !has_shear => Ok(None),
        Some(spot) => {
            let message = format!("`{GAP}` must be greater than 0 (in Å), found {}", figure(spot.value));
            Err(document.error(spot.place, message))
        }
        None => Ok(None),
    }
}

/// The data file, or `None` where none is named.
///
/// A path in the file is looked up from the configuration file's folder, then from the working directory; where there
/// is nothing in either, the first is kept for the message of whoever opens it. `--data-file` is taken as it is.
pub(super) fn data_file(document: &Document) -> Result<Option<Spot<PathBuf>>> {
    let (named, place) = match document.path("experimental_data.file_path")? {
        Some(spot) if spot.place == Place::Option(DATA_FILE) => return Ok(Some(spot)),
        Some(spot) => (spot.value, spot.place),
        None => {
            let Some(name) = document.text("experimental_data.data_file_name")? else { return Ok(None) };
            let folder =
                document.path("experimental_data.data_folder_path")?.map_or_else(PathBuf::new, |spot| spot.value);
            (folder.join(name.value), name.place)
        }
    };
    let beside = document.source.file.parent().unwrap_or(Path::new("")).join(&named);
    Ok(Some(Spot { value: if !beside.exists() && named.exists() { named } else { beside }, place }))
}

/// Smallest gap of a shear cell, Å, that is believed.
const SMALLEST_GAP: f64 = 1e4;

/// What to say of a gap that can't be one in Å.
pub(super) fn odd_gap(gap: f64) -> Option<String> {
    let in_unit = |unit: &str, angstrom: f64| format!("if it is in {unit}, {} Å is meant", figure(gap * angstrom));
    (gap < SMALLEST_GAP).then(|| {
        let meant = if gap < 10.0 { in_unit("mm", 1e7) } else { in_unit("µm", 1e4) };
        format!("analyzer_parameters.geometry.stator_rotor_gap is {} Å, less than 1 µm; {meant}", figure(gap))
    })
}
