//! What `simulate` makes.

use super::SimulationConfig;
use super::document::Document;
use super::node::{Node, Place, Value};
use crate::Result;
use crate::model::{AnalysisMode, CONTRAST, OFFSET, PHYSICAL, ParameterSpace};

/// Noise where the file names none: the σ that measured files without one are given, too.
const NOISE: f64 = 0.01;
/// Seed where the file names none.
const SEED: u64 = 42;
/// Contrast where the file names none: that of a good beamline.
const DEFAULT_CONTRAST: f64 = 0.3;
/// Offset where the file names none: c2 of uncorrelated intensities.
const DEFAULT_OFFSET: f64 = 1.0;

/// The `simulation` section, or `None` where there is none. Parameters that it doesn't list are the start values.
///
/// # Errors
/// Too few frames, no angles, parameters missing or unknown, lists that don't go with the angles.
pub(super) fn simulation(
    document: &Document,
    mode: AnalysisMode,
    start: Option<&[f64]>,
) -> Result<Option<SimulationConfig>> {
    let Some(section) = document.get("simulation") else { return Ok(None) };
    // The first frame takes no part in a fit, and a fit needs a pair.
    let n_frames = match document.whole("simulation.frames", 3, i64::MAX)? {
        Some(spot) => spot.value as usize,
        None => return Err(document.missing("simulation.frames", "it says how many frames to make")),
    };
    let phi = match document.list("simulation.angles")? {
        Some([]) => return Err(document.error(section.place, "`simulation.angles` is empty; name one angle at least")),
        Some(items) => numbers(document, "simulation.angles", items)?,
        None => return Err(document.missing("simulation.angles", "it lists the angles in degree")),
    };
    let noise = match document.number("simulation.noise")? {
        Some(spot) if spot.value < 0.0 => {
            return Err(document.error(spot.place, "`simulation.noise` is a standard deviation and can't be negative"));
        }
        spot => spot.map_or(NOISE, |s| s.value),
    };
    let seed = document.whole("simulation.seed", 0, i64::MAX)?.map_or(SEED, |spot| spot.value as u64);
    Ok(Some(SimulationConfig {
        parameters: parameters(document, mode, start, section.place)?,
        contrast: per_angle(document, &format!("simulation.{}", CONTRAST.name), phi.len(), DEFAULT_CONTRAST)?,
        offset: per_angle(document, &format!("simulation.{}", OFFSET.name), phi.len(), DEFAULT_OFFSET)?,
        phi,
        n_frames,
        noise,
        seed,
    }))
}

fn numbers(document: &Document, path: &str, items: &[Node]) -> Result<Vec<f64>> {
    let number = |(i, node)| document.finite(&format!("{path}[{i}]"), node).map(|spot| spot.value);
    items.iter().enumerate().map(number).collect()
}

/// One number for all angles, or a list with one for each.
fn per_angle(document: &Document, path: &str, n_angles: usize, default: f64) -> Result<Vec<f64>> {
    let Some(node) = document.get(path) else { return Ok(vec![default; n_angles]) };
    match &node.value {
        Value::List(items) if items.len() == n_angles => numbers(document, path, items),
        Value::List(items) => {
            let message = format!(
                "`{path}` has {} values, but the angles number {n_angles}; give one each, or one for all",
                items.len()
            );
            Err(document.error(node.place, message))
        }
        _ if node.as_number().is_some() => Ok(vec![document.finite(path, node)?.value; n_angles]),
        _ => Err(document.wrong(path, node, "a number, or a list with one for each angle")),
    }
}

fn parameters(document: &Document, mode: AnalysisMode, start: Option<&[f64]>, section: Place) -> Result<Vec<f64>> {
    const PATH: &str = "simulation.parameters";
    let mut values: Vec<Option<f64>> = match start {
        Some(start) => start.iter().copied().map(Some).collect(),
        None => vec![None; mode.n_physical()],
    };
    if let Some(node) = document.get(PATH) {
        let Value::Section(entries) = &node.value else {
            return Err(document.wrong(PATH, node, "a section of `name: value` lines"));
        };
        for entry in entries {
            let Some(index) = ParameterSpace::index_of(&entry.key) else {
                let names: Vec<_> = PHYSICAL.iter().map(|p| p.name).collect();
                return Err(document.no_such(PATH, &entry.key, entry.place, &names));
            };
            let value = document.finite(&format!("{PATH}.{}", entry.key), &entry.node)?.value;
            // A static simulation leaves the parameters of shear out, so that one section can serve both modes.
            if let Some(slot) = values.get_mut(index) {
                *slot = Some(value);
            }
        }
    }
    let missing: Vec<_> = PHYSICAL.iter().zip(&values).filter(|(_, v)| v.is_none()).map(|(p, _)| p.name).collect();
    if missing.is_empty() {
        return Ok(values.into_iter().flatten().collect());
    }
    let place = document.get(PATH).map_or(section, |node| node.place);
    Err(document.error(place, format!("`{PATH}` gives no value for {}", missing.join(", "))))
}
