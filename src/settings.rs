//! Two configurations in force, as JSON trees (`config::effective`): which keys differ, and what each of them matters for.

use serde_json::{Map, Value};

/// What a key of the configuration decides about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Matters {
    /// The model, the data taken, or how they are weighed: numbers mean something else, or come out otherwise.
    Numbers,
    /// How a minimum is looked for: where several are, another may be found.
    Search,
    /// Draws from the posterior only.
    Draws,
    /// The last digits.
    Rounding,
    /// Nothing that a result holds but the names of files.
    Nothing,
}

impl Matters {
    /// In words, for "matters for …".
    pub fn words(self) -> &'static str {
        match self {
            Self::Numbers => "the numbers",
            Self::Search => "which minimum is found",
            Self::Draws => "draws",
            Self::Rounding => "the last digits",
            Self::Nothing => "nothing in the numbers",
        }
    }

    /// Of a key, by its dotted path.
    pub fn of(path: &str) -> Self {
        let is_below =
            |above: &&str| path.strip_prefix(*above).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        if let Some((_, matters)) = OF_SECTIONS.iter().find(|(above, _)| is_below(above)) {
            return *matters;
        }
        let last = path.rsplit_once('.').map_or(path, |(_, last)| last);
        if path.starts_with("parameter_space.") && PRIOR_KEYS.contains(&last) { Self::Draws } else { Self::Numbers }
    }
}

/// What keys matter for that don't decide about the numbers; the first that fits counts.
const OF_SECTIONS: [(&str, Matters); 19] = [
    // follows from the mode
    ("initial_parameters.parameter_names", Matters::Nothing),
    ("experimental_data.file_path", Matters::Nothing),
    ("optimization.streaming", Matters::Nothing),
    ("performance", Matters::Nothing),
    ("device.memory_fraction", Matters::Nothing),
    ("distributed", Matters::Nothing),
    ("output", Matters::Nothing),
    ("plotting", Matters::Nothing),
    ("logging", Matters::Nothing),
    ("simulation", Matters::Nothing),
    ("device", Matters::Rounding),
    ("initial_parameters.values", Matters::Search),
    ("optimization.nlsq.max_iterations", Matters::Search),
    ("optimization.nlsq.tolerance", Matters::Search),
    ("optimization.nlsq.xtol", Matters::Search),
    ("optimization.nlsq.gtol", Matters::Search),
    ("optimization.nlsq.multi_start", Matters::Search),
    ("optimization.method", Matters::Draws),
    ("optimization.nuts", Matters::Draws),
];
const PRIOR_KEYS: [&str; 3] = ["type", "prior_mu", "prior_sigma"];

/// A key whose values differ; null where one side hasn't got it.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Dotted path; parameters of a list are named.
    pub path: String,
    /// The values of the two sides.
    pub values: [Value; 2],
}

/// All keys whose values differ.
pub fn differences(a: &Value, b: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare("", a, b, &mut found);
    found
}

fn compare(path: &str, a: &Value, b: &Value, found: &mut Vec<Difference>) {
    if a == b {
        return;
    }
    // what one side lacks is one difference
    let sides = if a.is_null() || b.is_null() { (None, None) } else { (named(a), named(b)) };
    match sides {
        (None, None) => found.push(Difference { path: path.to_owned(), values: [a.clone(), b.clone()] }),
        (a, b) => {
            let (a, b) = (a.unwrap_or_default(), b.unwrap_or_default());
            for key in a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))) {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                let at = |map: &Map<String, Value>| map.get(key).cloned().unwrap_or_default();
                compare(&path, &at(&a), &at(&b), found);
            }
        }
    }
}

/// The entries of a section, or of a list whose items have names.
fn named(value: &Value) -> Option<Map<String, Value>> {
    match value {
        Value::Object(map) => Some(map.clone()),
        Value::Array(items) if !items.is_empty() => {
            let item = |item: &Value| Some((item.get("name")?.as_str()?.to_owned(), item.clone()));
            items.iter().map(item).collect()
        }
        _ => None,
    }
}

/// A configuration without the keys that matter for nothing in a result.
pub fn deciding(configuration: &Value) -> Value {
    fn walk(path: &str, value: &Value) -> Value {
        let Value::Object(map) = value else { return value.clone() };
        let below = |key: &String| if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let kept = map.iter().filter(|(key, _)| Matters::of(&below(key)) != Matters::Nothing);
        Value::Object(kept.map(|(key, value)| (key.clone(), walk(&below(key), value))).collect())
    }
    walk("", configuration)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_key_that_differs_is_named_with_what_it_matters_for() {
        let a = json!({
            "analyzer_parameters": { "geometry": { "stator_rotor_gap": 2e6 } },
            "initial_parameters": { "values": null, "fixed_parameters": {} },
            "parameter_space": { "bounds": [{ "name": "D0", "min": 1.0, "max": 1e6 }, { "name": "alpha", "min": -2.0 }] },
            "output": { "directory": "a" },
            "device": { "precision": "f64", "memory_fraction": 0.9 },
        });
        let mut b = a.clone();
        b["analyzer_parameters"]["geometry"]["stator_rotor_gap"] = json!(1e6);
        b["initial_parameters"] = json!({ "values": [1.0, 2.0], "fixed_parameters": { "alpha": 0.0 } });
        b["parameter_space"]["bounds"] = json!([
            { "name": "alpha", "min": -2.0, "type": "Normal" },
            { "name": "D0", "min": 2.0, "max": 1e6 },
        ]);
        b["output"]["directory"] = json!("b");
        b["device"] = json!({ "precision": "mixed", "memory_fraction": 0.5 });
        let found: Vec<(String, Matters)> =
            differences(&a, &b).into_iter().map(|d| (d.path.clone(), Matters::of(&d.path))).collect();
        let named = |path: &str, matters| assert!(found.contains(&(path.to_owned(), matters)), "{path}: {found:?}");
        named("analyzer_parameters.geometry.stator_rotor_gap", Matters::Numbers);
        named("initial_parameters.values", Matters::Search);
        named("initial_parameters.fixed_parameters.alpha", Matters::Numbers);
        named("parameter_space.bounds.D0.min", Matters::Numbers);
        named("parameter_space.bounds.alpha.type", Matters::Draws);
        named("output.directory", Matters::Nothing);
        named("device.precision", Matters::Rounding);
        named("device.memory_fraction", Matters::Nothing);
        assert_eq!(found.len(), 8);
        assert_eq!(differences(&a, &a), []);
    }

    #[test]
    fn what_decides_is_all_but_names_and_machines() {
        let all = json!({ "analysis_mode": "static", "output": { "directory": "x" }, "device": { "kind": "cpu", "memory_fraction": 1.0 } });
        assert_eq!(deciding(&all), json!({ "analysis_mode": "static", "device": { "kind": "cpu" } }));
    }
}
