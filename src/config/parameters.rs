//! Bounds, start values and fixed values of the physical parameters.

use super::document::{Document, Spot, figure};
use super::node::{Node, Place, Value, beginning};
use super::sampling;
use super::scaling::is_of_one_angle;
use super::schema::nearest_of;
use crate::Result;
use crate::model::{AnalysisMode, CONTRAST, OFFSET, PHYSICAL, ParameterSpace};

const BOUNDS: &str = "parameter_space.bounds";
const NAMES: &str = "initial_parameters.parameter_names";
const VALUES: &str = "initial_parameters.values";
const ACTIVE: &str = "initial_parameters.active_parameters";
const FIXED: &str = "initial_parameters.fixed_parameters";
const TIED: &str = "initial_parameters.tied_parameters";

/// What a parameter's name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    /// A parameter of the mode, by its position.
    Physical(usize),
    /// A parameter that only the other mode has.
    OtherMode,
    Contrast,
    Offset,
}

/// Position of the shear rate's amplitude; that of diffusion comes first.
const SHEAR_AMPLITUDE: usize = 3;

/// What to do instead of an amplitude that isn't positive; `None` where the parameter is no amplitude.
fn amplitude_remedy(index: usize) -> Option<&'static str> {
    match index {
        0 => Some("for a D without a power law fix `alpha` and `D_offset` to 0"),
        SHEAR_AMPLITUDE => Some(
            "for a shear rate without a power law fix `beta` and `gamma_dot_t_offset` to 0, without shear use \
             `analysis_mode: static`",
        ),
        _ => None,
    }
}

/// A value per physical parameter, where one is given.
type Values = Vec<Option<Spot<f64>>>;

/// A value that nothing is wrong with, in place of one that was reported.
fn stand_in(space: &ParameterSpace, index: usize, place: Place) -> Spot<f64> {
    Spot { value: space.bounds[index].0, place }
}

struct Reader<'a> {
    document: &'a Document,
    mode: AnalysisMode,
    /// Whether priors count.
    samples: bool,
    warnings: Vec<String>,
}

/// The parameter space that the document describes, and what to warn about.
///
/// # Errors
/// Unknown names, empty or reversed bounds, amplitudes that needn't be positive, start or fixed values missing or outside
/// the bounds, nothing left to fit.
pub(super) fn space(document: &Document, mode: AnalysisMode) -> Result<(ParameterSpace, Vec<String>)> {
    let samples = sampling::method(document)?.samples();
    if let Some(node) = document.get(TIED).filter(|node| !node.is_empty_section()) {
        return Err(document.later(
            node.place,
            format!("`{TIED}`"),
            "fix parameters by `fixed_parameters`, or fit each",
        ));
    }
    let mut reader = Reader { document, mode, samples, warnings: Vec::new() };
    let mut space = ParameterSpace::for_mode(mode);
    reader.bounds(&mut space)?;
    let start = reader.start(&space)?;
    let fixed = reader.fixed(start.as_ref(), &space)?;
    let fixed = reader.inactive(fixed, start.as_ref(), &space)?;
    reader.within(&fixed, &space)?;
    space.fixed = fixed.iter().map(|f| f.map(|spot| spot.value)).collect();
    if space.n_free() == 0 {
        let node = document.get(FIXED).or(document.get(ACTIVE)).unwrap_or(&document.root);
        return Err(document.error(node.place, "every parameter is fixed; at least one must be left to fit"));
    }
    space.start = reader.complete(start, &fixed, &space)?;
    Ok((space, reader.warnings))
}

impl Reader<'_> {
    /// What a name stands for; `path` is where it was given.
    fn named(&self, path: &str, name: &str, place: Place) -> Result<Named> {
        // `contrast`, and `contrast_0`, `contrast[0]` for the first angle.
        let scaling = |base: &str| name.strip_prefix(base).is_some_and(|r| r.is_empty() || r.starts_with(['_', '[']));
        match ParameterSpace::index_of(name) {
            Some(index) if index < self.mode.n_physical() => Ok(Named::Physical(index)),
            Some(_) => Ok(Named::OtherMode),
            None if scaling(CONTRAST.name) => Ok(Named::Contrast),
            None if scaling(OFFSET.name) => Ok(Named::Offset),
            None => {
                let names: Vec<&str> = PHYSICAL.iter().chain([&CONTRAST, &OFFSET]).map(|p| p.name).collect();
                let hint = match nearest_of(name, &names) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("the parameters are {}", names.join(", ")),
                };
                Err(self
                    .document
                    .error(place, format!("`{path}`: there is no parameter `{}`; {hint}", beginning(name))))
            }
        }
    }

    fn named_node(&self, path: &str, node: &Node) -> Result<Named> {
        let name = node.as_text().ok_or_else(|| self.document.wrong(path, node, "the name of a parameter"))?;
        self.named(path, name, node.place)
    }

    fn warn_other_mode(&mut self, name: &str, place: Place) {
        let (place, mode) = (self.document.source.show(place), self.mode.name());
        self.warnings.push(format!("{place}: `{name}` has no part in the mode `{mode}` and is left out"));
    }

    fn bounds(&mut self, space: &mut ParameterSpace) -> Result<()> {
        let document = self.document;
        let mut seen = Vec::new();
        for (i, item) in document.list(BOUNDS)?.unwrap_or_default().iter().enumerate() {
            if item.is_reported() || item.get("name").is_some_and(Node::is_reported) {
                continue;
            }
            let path = format!("{BOUNDS}[{i}]");
            if !matches!(item.value, Value::Section(_)) {
                return Err(document.wrong(&path, item, "a section with `name`, `min` and `max`"));
            }
            let Some(name) = item.get("name").filter(|n| !n.is_null()) else {
                return Err(document.error(item.place, format!("`{path}` has no `name`")));
            };
            let named = self.named_node(&format!("{path}.name"), name)?;
            if is_of_one_angle(name.as_text().unwrap_or_default()) {
                continue;
            }
            let target = match named {
                Named::Physical(index) => &mut space.bounds[index],
                Named::Contrast => &mut space.contrast,
                Named::Offset => &mut space.offset,
                Named::OtherMode => continue,
            };
            let given = name.as_text().unwrap_or_default();
            if seen.contains(&named) {
                let message = format!("`{path}`: bounds of `{given}` are given twice");
                return Err(document.error(name.place, message));
            }
            seen.push(named);
            for (key, side) in [("min", &mut target.0), ("max", &mut target.1)] {
                if let Some(node) = item.get(key).filter(|n| !n.is_null()) {
                    *side = document.finite(&format!("{path}.{key}"), node)?.value;
                }
            }
            if target.0 >= target.1 {
                let (min, max) = (figure(target.0), figure(target.1));
                let place = item.get("min").or(item.get("max")).unwrap_or(item).place;
                let message = format!("bounds of `{given}`: min must be less than max, found {min} and {max}");
                return Err(document.error(place, message));
            }
            if let Named::Physical(index) = named
                && let Some(remedy) = amplitude_remedy(index)
                && target.0 <= 0.0
            {
                let place = item.get("min").unwrap_or(item).place;
                let message = format!(
                    "bounds of `{given}`: min must be greater than 0, found {}; an amplitude is positive: {remedy}",
                    figure(target.0)
                );
                return Err(document.error(place, message));
            }
            // a fit without sampling runs with any file of the Python package, whatever priors are in it
            if self.samples {
                let prior = sampling::prior(document, &path, item, *target, !matches!(named, Named::Physical(_)))?;
                self.warnings.extend(sampling::far_prior(document, &path, item, *target, prior));
                match named {
                    Named::Physical(index) => space.priors[index] = prior,
                    Named::Contrast => space.contrast_prior = prior,
                    Named::Offset => space.offset_prior = prior,
                    Named::OtherMode => {}
                }
            }
        }
        Ok(())
    }

    /// Start values as given; `None` where the program is to find its own.
    fn start(&mut self, space: &ParameterSpace) -> Result<Option<Values>> {
        let document = self.document;
        let names = document.list(NAMES)?;
        // contrast stands for a name that was wrong: its value is skipped
        let named = |node: &Node| if node.is_reported() { Ok(Named::Contrast) } else { self.named_node(NAMES, node) };
        let named = names.unwrap_or_default().iter().map(named).collect::<Result<Vec<_>>>()?;
        let Some(node) = document.get(VALUES).filter(|node| !node.is_empty_section()) else { return Ok(None) };
        let mut start = vec![None; self.mode.n_physical()];
        let mut wrong_name = names.is_some_and(|names| names.iter().any(Node::is_reported));
        match &node.value {
            Value::List(items) => {
                let named = match names {
                    Some(_) => named,
                    None => (0..self.mode.n_physical()).map(Named::Physical).collect(),
                };
                if items.len() != named.len() {
                    let against = match names {
                        Some(_) => format!("`{NAMES}` has {}", named.len()),
                        None => format!("the mode `{}` has {} parameters", self.mode.name(), named.len()),
                    };
                    let message = format!("`{VALUES}` has {} items, {against}; they go together", items.len());
                    return Err(document.error(node.place, message));
                }
                for (i, (named, item)) in named.into_iter().zip(items).enumerate() {
                    let label = names.and_then(|n| n[i].as_text()).unwrap_or_default();
                    self.assign(&mut start, &format!("{VALUES}[{i}]"), named, label, item, space)?;
                }
            }
            Value::Section(entries) => {
                for entry in entries {
                    if entry.node.is_reported() && ParameterSpace::index_of(&entry.key).is_none() {
                        wrong_name = true;
                        continue;
                    }
                    let named = self.named(VALUES, &entry.key, entry.place)?;
                    self.assign(&mut start, &format!("{VALUES}.{}", entry.key), named, &entry.key, &entry.node, space)?;
                }
            }
            _ => return Err(document.wrong(VALUES, node, "a list, a section of `name: value` lines, or null")),
        }
        if wrong_name {
            // whichever was meant by the wrong name isn't missing
            for (index, value) in start.iter_mut().enumerate() {
                value.get_or_insert(stand_in(space, index, node.place));
            }
        }
        Ok(Some(start))
    }

    /// Takes one start value; those of contrast and offset don't matter, because they are solved for in closed form.
    fn assign(
        &mut self,
        start: &mut Values,
        path: &str,
        named: Named,
        name: &str,
        node: &Node,
        space: &ParameterSpace,
    ) -> Result<()> {
        match named {
            Named::Physical(index) if node.is_reported() => start[index] = Some(stand_in(space, index, node.place)),
            Named::Physical(index) => {
                let spot = self.document.finite(path, node)?;
                if start[index].replace(spot).is_some() {
                    let message = format!("`{path}`: `{}` already has a start value", PHYSICAL[index].name);
                    return Err(self.document.error(node.place, message));
                }
            }
            Named::OtherMode => self.warn_other_mode(name, node.place),
            Named::Contrast | Named::Offset => {}
        }
        Ok(())
    }

    /// The start value of a parameter that is held fixed without a value of its own.
    fn held(
        &self,
        path: &str,
        index: usize,
        start: Option<&Values>,
        place: Place,
        space: &ParameterSpace,
    ) -> Result<Spot<f64>> {
        let lost = || self.document.reported(VALUES).then(|| stand_in(space, index, place));
        start.and_then(|s| s[index]).or_else(lost).ok_or_else(|| {
            let message =
                format!("`{path}` holds `{}` at its start value, but `{VALUES}` has none", PHYSICAL[index].name);
            self.document.error(place, message)
        })
    }

    fn fixed(&mut self, start: Option<&Values>, space: &ParameterSpace) -> Result<Values> {
        let document = self.document;
        let mut fixed = vec![None; self.mode.n_physical()];
        let Some(node) = document.get(FIXED) else { return Ok(fixed) };
        let given: Vec<(&str, &Node, Option<&Node>)> = match &node.value {
            Value::Section(entries) => {
                entries.iter().map(|e| (e.key.as_str(), &e.node, Some(&e.node).filter(|n| !n.is_null()))).collect()
            }
            Value::List(items) => {
                let there = items.iter().filter(|item| !item.is_reported());
                there.map(|item| (item.as_text().unwrap_or_default(), item, None)).collect()
            }
            _ => return Err(document.wrong(FIXED, node, "a section of `name: value` lines, or a list of names")),
        };
        for (name, node, value) in given {
            if node.is_reported() && ParameterSpace::index_of(name).is_none() {
                continue;
            }
            match self.named(FIXED, name, node.place)? {
                Named::Physical(index) => {
                    fixed[index] = Some(match value {
                        None if node.is_reported() => stand_in(space, index, node.place),
                        Some(value) => document.finite(&format!("{FIXED}.{name}"), value)?,
                        None => self.held(FIXED, index, start, node.place, space)?,
                    });
                }
                Named::OtherMode => self.warn_other_mode(name, node.place),
                Named::Contrast | Named::Offset => {
                    let what = format!("`{FIXED}`: fixing `{name}`");
                    return Err(document.later(node.place, what, "narrow its bounds instead"));
                }
            }
        }
        Ok(fixed)
    }

    /// Fixes what `active_parameters` doesn't name.
    fn inactive(&mut self, mut fixed: Values, start: Option<&Values>, space: &ParameterSpace) -> Result<Values> {
        let document = self.document;
        let Some(items) = document.list(ACTIVE)? else { return Ok(fixed) };
        let mut active = vec![false; fixed.len()];
        for item in items {
            if item.is_reported() {
                // may have been any of them
                active.fill(true);
                continue;
            }
            match self.named_node(ACTIVE, item)? {
                Named::Physical(index) if fixed[index].is_some() => {
                    let name = PHYSICAL[index].name;
                    let message = format!("`{ACTIVE}` names `{name}`, which `fixed_parameters` fixes; decide on one");
                    return Err(document.error(item.place, message));
                }
                Named::Physical(index) => active[index] = true,
                Named::OtherMode => self.warn_other_mode(item.as_text().unwrap_or_default(), item.place),
                Named::Contrast | Named::Offset => {}
            }
        }
        let place = document.get(ACTIVE).map_or(document.root.place, |node| node.place);
        for (index, fixed) in fixed.iter_mut().enumerate() {
            if !active[index] && fixed.is_none() {
                *fixed = Some(self.held(ACTIVE, index, start, place, space)?);
            }
        }
        Ok(fixed)
    }

    /// Fixed values lie inside their bounds, as start values do; those of amplitudes are positive.
    fn within(&self, fixed: &Values, space: &ParameterSpace) -> Result<()> {
        for (index, spot) in fixed.iter().enumerate() {
            let (Some(spot), (min, max)) = (spot, space.bounds[index]) else { continue };
            let (name, value) = (PHYSICAL[index].name, figure(spot.value));
            let message = match amplitude_remedy(index) {
                Some(remedy) if spot.value <= 0.0 => {
                    format!("`{name}` can't be fixed at {value}: an amplitude is positive; {remedy}")
                }
                _ if (min..=max).contains(&spot.value) => continue,
                _ => {
                    let (min, max) = (figure(min), figure(max));
                    format!(
                        "the fixed value {value} of `{name}` lies outside its bounds {min} to {max}; change it or `{BOUNDS}`"
                    )
                }
            };
            return Err(self.document.error(spot.place, message));
        }
        Ok(())
    }

    /// The start with the fixed values in it; every free parameter must have one, inside its bounds.
    fn complete(&self, start: Option<Values>, fixed: &Values, space: &ParameterSpace) -> Result<Option<Vec<f64>>> {
        let document = self.document;
        let Some(start) = start else { return Ok(None) };
        let spots: Values = fixed.iter().zip(start).map(|(fixed, start)| fixed.or(start)).collect();
        let missing: Vec<_> = PHYSICAL.iter().zip(&spots).filter(|(_, s)| s.is_none()).map(|(p, _)| p.name).collect();
        if !missing.is_empty() {
            let node = document.get(VALUES).unwrap_or(&document.root);
            let message = format!(
                "`{VALUES}` gives no start for {}; give all of them, or `values: null` to have a start searched for",
                missing.join(", ")
            );
            return Err(document.error(node.place, message));
        }
        for (index, spot) in spots.iter().enumerate() {
            let (Some(spot), (min, max)) = (spot, space.bounds[index]) else { continue };
            if fixed[index].is_none() && !(min..=max).contains(&spot.value) {
                let (name, value, min, max) = (PHYSICAL[index].name, figure(spot.value), figure(min), figure(max));
                let message = format!(
                    "the start value {value} of `{name}` lies outside its bounds {min} to {max}; change it or `{BOUNDS}`"
                );
                return Err(document.error(spot.place, message));
            }
        }
        Ok(Some(spots.into_iter().flatten().map(|spot| spot.value).collect()))
    }
}
