//! The scaling mode, and what the file says about contrast and offset of single angles.
//!
//! Angles are numbered from 0 by ascending φ among those that are selected, as in the Python package. How many there are is
//! only known once the data file is open, so what depends on it is kept with its place until then.

use super::document::{Document, figure};
use super::node::{Node, Place, beginning};
use super::sampling;
use crate::model::{AngleBounds, CONTRAST, OFFSET, ParameterSpace, ScalingMode};
use crate::{ConfigProblem, Error, Result};

const SECTION: &str = "optimization.nlsq.anti_degeneracy";
const VALUES: &str = "initial_parameters.per_angle_scaling";
const BOUNDS: &str = "parameter_space.bounds";
/// Highest order of a series that makes sense: beyond it no file has angles enough.
const MOST_HARMONICS: i64 = 1000;

/// Contrast or offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    Contrast,
    Offset,
}

impl Which {
    const ALL: [Self; 2] = [Self::Contrast, Self::Offset];

    fn name(self) -> &'static str {
        match self {
            Self::Contrast => CONTRAST.name,
            Self::Offset => OFFSET.name,
        }
    }
}

/// What the file says about scaling beside the mode.
#[derive(Debug, Clone)]
pub struct AngleScaling {
    /// Fewest angles for which `auto` averages.
    pub averaged_from: usize,
    values: [Option<Values>; 2],
    bounds: Vec<Bound>,
}

impl Default for AngleScaling {
    /// What a file that says nothing gets.
    fn default() -> Self {
        Self { averaged_from: ScalingMode::AVERAGED_FROM, values: [None, None], bounds: Vec::new() }
    }
}

/// A value for every angle.
#[derive(Debug, Clone)]
struct Values {
    numbers: Vec<f64>,
    blame: ConfigProblem,
}

/// Bounds of one angle.
#[derive(Debug, Clone)]
struct Bound {
    which: Which,
    angle: usize,
    bounds: (f64, f64),
    blame: ConfigProblem,
}

/// Values given for every angle, in the order of the experiment's.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Given {
    /// Of contrast.
    pub contrast: Option<Vec<f64>>,
    /// Of offset.
    pub offset: Option<Vec<f64>>,
}

fn blamed(problem: &ConfigProblem, message: String) -> Error {
    Error::Config(ConfigProblem { message, ..problem.clone() })
}

/// `None` for `auto`.
pub(super) fn mode(document: &Document) -> Result<Option<ScalingMode>> {
    let order = document.whole(&format!("{SECTION}.fourier_order"), 1, MOST_HARMONICS)?;
    Ok(match document.choice("optimization.nlsq.anti_degeneracy.per_angle_mode")? {
        Some("averaged") => Some(ScalingMode::Averaged),
        Some("individual") => Some(ScalingMode::Individual),
        Some("constant") => Some(ScalingMode::Constant),
        Some("fourier") => {
            Some(ScalingMode::Fourier { order: order.map_or(ScalingMode::FOURIER_ORDER, |o| o.value as usize) })
        }
        _ => None,
    })
}

/// What the document says about single angles; `space` has the bounds of all of them.
///
/// # Errors
/// Values that are no numbers or outside their bounds, bounds that are empty or given twice.
pub(super) fn angles(document: &Document, space: &ParameterSpace) -> Result<AngleScaling> {
    let threshold = document.whole(&format!("{SECTION}.constant_scaling_threshold"), 0, i64::MAX)?;
    let bounds = bounds(document, space)?;
    let values = |which: Which| values(document, which, space, &bounds);
    Ok(AngleScaling {
        averaged_from: threshold.map_or(ScalingMode::AVERAGED_FROM, |t| t.value as usize),
        values: [values(Which::Contrast)?, values(Which::Offset)?],
        bounds,
    })
}

fn common(which: Which, space: &ParameterSpace) -> (f64, f64) {
    match which {
        Which::Contrast => space.contrast,
        Which::Offset => space.offset,
    }
}

/// Number of the angle in `contrast_0` or `contrast[0]`; `None` where the name is another, `Some(None)` where it ends in
/// something else.
fn numbered(name: &str, which: Which) -> Option<Option<usize>> {
    let rest = name.strip_prefix(which.name())?;
    let number = match (rest.strip_prefix('_'), rest.strip_prefix('[')) {
        (Some(number), _) => number,
        (_, Some(number)) => number.strip_suffix(']').unwrap_or_default(),
        _ => return None,
    };
    Some(number.parse().ok())
}

/// The angle that a name of `parameter_space.bounds` belongs to; `None` for other names.
fn bound_angle(document: &Document, path: &str, name: &str, place: Place) -> Result<Option<(Which, usize)>> {
    for which in Which::ALL {
        match numbered(name, which) {
            None => {}
            Some(Some(angle)) => return Ok(Some((which, angle))),
            Some(None) => {
                let base = which.name();
                let message = format!(
                    "`{path}`: there is no parameter `{}`; `{base}` is that of all angles, `{base}_0` that of the first",
                    beginning(name)
                );
                return Err(document.error(place, message));
            }
        }
    }
    Ok(None)
}

/// Whether a name of `parameter_space.bounds` is that of one angle.
pub(super) fn is_of_one_angle(name: &str) -> bool {
    Which::ALL.into_iter().any(|which| numbered(name, which).is_some())
}

fn bounds(document: &Document, space: &ParameterSpace) -> Result<Vec<Bound>> {
    let mut out: Vec<Bound> = Vec::new();
    let samples = sampling::method(document)?.samples();
    for (i, item) in document.list(BOUNDS)?.unwrap_or_default().iter().enumerate() {
        let Some(name) = item.get("name").filter(|_| !item.is_reported()) else { continue };
        let path = format!("{BOUNDS}[{i}]");
        let Some((which, angle)) = bound_angle(document, &path, name.as_text().unwrap_or_default(), name.place)? else {
            continue;
        };
        if out.iter().any(|b| (b.which, b.angle) == (which, angle)) {
            let message = format!("`{path}`: bounds of `{}_{angle}` are given twice", which.name());
            return Err(document.error(name.place, message));
        }
        let prior = ["type", "prior_mu", "prior_sigma"].iter().find_map(|key| item.get(key).filter(|n| !n.is_null()));
        if let Some(node) = prior.filter(|node| node.as_text().is_none_or(|word| !word.eq_ignore_ascii_case("uniform")))
            && samples
        {
            let what = format!("`{path}`: a prior for the {} of one angle", which.name());
            return Err(document.later(
                node.place,
                what,
                &format!("give one for all angles, under `{}`", which.name()),
            ));
        }
        let mut bounds = common(which, space);
        for (key, side) in [("min", &mut bounds.0), ("max", &mut bounds.1)] {
            if let Some(node) = item.get(key).filter(|n| !n.is_null()) {
                *side = document.finite(&format!("{path}.{key}"), node)?.value;
            }
        }
        if bounds.0 >= bounds.1 {
            let (min, max) = (figure(bounds.0), figure(bounds.1));
            let name = name.as_text().unwrap_or_default();
            let message = format!("bounds of `{name}`: min must be less than max, found {min} and {max}");
            return Err(document.error(item.get("min").or(item.get("max")).unwrap_or(item).place, message));
        }
        out.push(Bound { which, angle, bounds, blame: document.source.blame(name.place, "") });
    }
    Ok(out)
}

fn values(document: &Document, which: Which, space: &ParameterSpace, bounds: &[Bound]) -> Result<Option<Values>> {
    let path = format!("{VALUES}.{}", which.name());
    let Some(items) = document.list(&path)? else { return Ok(None) };
    let mut numbers = Vec::with_capacity(items.len());
    for (angle, item) in items.iter().enumerate() {
        let own = bounds.iter().find(|b| (b.which, b.angle) == (which, angle));
        let (min, max) = own.map_or(common(which, space), |b| b.bounds);
        if item.is_reported() {
            numbers.push(min);
            continue;
        }
        let spot = document.finite(&format!("{path}[{angle}]"), item)?;
        if !(min..=max).contains(&spot.value) {
            let message = format!(
                "`{path}[{angle}]` = {} lies outside its bounds {} to {}; change it or `{BOUNDS}`",
                figure(spot.value),
                figure(min),
                figure(max)
            );
            return Err(document.error(spot.place, message));
        }
        numbers.push(spot.value);
    }
    let place = document.get(&path).map_or(document.root.place, |node: &Node| node.place);
    Ok(Some(Values { numbers, blame: document.source.blame(place, "") }))
}

impl AngleScaling {
    /// The bounds of every angle in `space`, and the values given, for angles `phi` (degree).
    ///
    /// # Errors
    /// [`Error::Config`] with the line where values or bounds don't go with the number of angles.
    pub fn resolve(&self, phi: &[f64], space: &ParameterSpace) -> Result<(ParameterSpace, Given)> {
        let mut by_phi: Vec<usize> = (0..phi.len()).collect();
        by_phi.sort_by(|&a, &b| phi[a].total_cmp(&phi[b]));
        let mut space = space.clone();
        if !self.bounds.is_empty() {
            let all = AngleBounds { contrast: space.contrast, offset: space.offset };
            space.angles = vec![all; phi.len()];
        }
        for bound in &self.bounds {
            let name = bound.which.name();
            let &angle = by_phi.get(bound.angle).ok_or_else(|| {
                let message = format!(
                    "bounds of `{name}_{}`: {} angle(s) are selected, numbered from 0 by ascending φ",
                    bound.angle,
                    phi.len()
                );
                blamed(&bound.blame, message)
            })?;
            match bound.which {
                Which::Contrast => space.angles[angle].contrast = bound.bounds,
                Which::Offset => space.angles[angle].offset = bound.bounds,
            }
        }
        let given = |which: Which| -> Result<Option<Vec<f64>>> {
            let Some(values) = &self.values[which as usize] else { return Ok(None) };
            if values.numbers.len() != phi.len() {
                let message = format!(
                    "`{VALUES}.{}` has {} value(s), but {} angle(s) are selected; give one for each, by ascending φ, or null",
                    which.name(),
                    values.numbers.len(),
                    phi.len()
                );
                return Err(blamed(&values.blame, message));
            }
            let mut out = vec![0.0; phi.len()];
            for (&angle, &value) in by_phi.iter().zip(&values.numbers) {
                out[angle] = value;
            }
            Ok(Some(out))
        };
        let given = Given { contrast: given(Which::Contrast)?, offset: given(Which::Offset)? };
        Ok((space, given))
    }

    /// Values as the file has them, contrast and offset.
    pub(super) fn listed(&self) -> [Option<&[f64]>; 2] {
        [0, 1].map(|k| self.values[k].as_ref().map(|v| v.numbers.as_slice()))
    }

    /// Name, min and max of every angle with bounds of its own.
    pub(super) fn own_bounds(&self) -> impl Iterator<Item = (String, (f64, f64))> {
        self.bounds.iter().map(|b| (format!("{}_{}", b.which.name(), b.angle), b.bounds))
    }
}
