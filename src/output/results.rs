//! Results of an earlier run, read from their JSON files: ours, those of the Python package `homodyne`, whose files have the same
//! names and keys, but fewer of them, and `nlsq_result.json` of `xpcsjax`.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::{Error, Result};

const PARAMETERS: &str = "parameters.json";
const ANALYSIS: &str = "analysis_results_nlsq.json";
/// The file of xpcsjax that names its parameters, and how its schema begins.
const OF_XPCSJAX: &str = "nlsq_result.json";
const SCHEMA: &str = "xpcsjax.nlsq.result";
/// Folder of the results below that of a run.
const METHOD: &str = "nlsq";

/// What a run left.
#[derive(Debug, Clone)]
pub struct Results {
    /// As the user named it.
    pub path: PathBuf,
    parameters: Value,
    /// Null where the file isn't there.
    analysis: Value,
    /// The Python package that wrote them; `None` for this program.
    pub package: Option<&'static str>,
}

/// A number with its standard error, where it has one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The number.
    pub value: f64,
    /// Its standard error.
    pub error: Option<f64>,
}

impl Results {
    /// Reads the results in a folder, its `nlsq` folder, or beside a `parameters.json`.
    ///
    /// # Errors
    /// [`Error::Data`] where there are none or they are damaged.
    pub fn read(path: &Path) -> Result<Self> {
        let Some(file) = Self::candidates(path).into_iter().find(|file| file.is_file()) else {
            let message = if path.is_dir() {
                format!(
                    "is not a result folder: it holds no {METHOD}/{PARAMETERS}, which a fit writes unless output.formats.json is \
                     false, and no {OF_XPCSJAX} of xpcsjax"
                )
            } else {
                "no such folder; expected one with results".to_owned()
            };
            return Err(Error::data(path, message));
        };
        let is_named = file != path;
        let parameters = read_json(&file).map_err(|error| match error {
            Error::Data { message, .. } if !is_named => Error::data(
                path,
                format!(
                    "is not a result folder, nor {PARAMETERS} in one: it {}",
                    message.trim_start_matches("is damaged: it ")
                ),
            ),
            other => other,
        })?;
        if parameters["schema"].as_str().is_some_and(|schema| schema.starts_with(SCHEMA)) {
            return Self::of_xpcsjax(path, &file, &parameters);
        }
        match parameters["parameters"].as_object() {
            Some(named) if !named.is_empty() => {}
            _ => {
                let message = "is not the file of a result: expected an object `parameters` of named parameters";
                return Err(Error::data(&file, message));
            }
        }
        let analysis = file.with_file_name(ANALYSIS);
        let analysis = if analysis.is_file() { read_json(&analysis)? } else { Value::Null };
        // ours say by which version they were written
        let package = parameters.get("version").is_none().then_some("the Python package homodyne");
        Ok(Self { path: path.to_path_buf(), parameters, analysis, package })
    }

    /// From `nlsq_result.json` of xpcsjax.
    fn of_xpcsjax(path: &Path, file: &Path, read: &Value) -> Result<Self> {
        let Some(named) = read["parameters"].as_object().filter(|named| !named.is_empty()) else {
            return Err(Error::data_at(file, "parameters", "expected an object of named parameters"));
        };
        // one pair for all angles is numbered, too
        let is_shared = !named.contains_key("contrast_1");
        let name = |name: &String| match name.strip_suffix("_0").filter(|_| is_shared) {
            Some(base @ ("contrast" | "offset")) => base.to_owned(),
            _ => name.clone(),
        };
        let named: serde_json::Map<String, Value> =
            named.iter().map(|(key, value)| (name(key), value.clone())).collect();
        let metadata = &read["metadata"];
        let parameters = json!({
            "timestamp": read["timestamp"],
            "analysis_mode": read["config"]["mode"],
            "chi_squared": metadata["chi_squared"],
            "reduced_chi_squared": metadata["reduced_chi_squared"],
            "convergence_status": metadata["convergence_status"],
            "parameters": named,
        });
        let analysis = json!({
            "fit_quality": { "quality_flag": metadata["quality_flag"] },
            "optimization_summary": {
                "execution_time": metadata["execution_time"],
                "scaling_mode": metadata["nlsq_diagnostics"]["per_angle_mode"],
            },
        });
        Ok(Self { path: path.to_path_buf(), parameters, analysis, package: Some("the Python package xpcsjax") })
    }

    fn candidates(path: &Path) -> Vec<PathBuf> {
        let places = [path.join(METHOD), path.to_path_buf()];
        // the parameters of xpcsjax have no names in parameters.json
        let mut files: Vec<PathBuf> = places.iter().map(|place| place.join(OF_XPCSJAX)).collect();
        files.extend(places.iter().map(|place| place.join(PARAMETERS)));
        files.push(path.to_path_buf());
        files
    }

    /// The files that [`Self::read`] may read, whether they are there or not.
    pub fn files(path: &Path) -> Vec<PathBuf> {
        Self::candidates(path).into_iter().flat_map(|file| [file.with_file_name(ANALYSIS), file]).collect()
    }

    /// Names of all fitted parameters, then of what follows from them at a reference time.
    pub fn names(&self) -> Vec<&str> {
        let sections = [&self.parameters["parameters"], &self.parameters["at_reference"]];
        sections.into_iter().filter_map(Value::as_object).flatten().map(|(name, _)| name.as_str()).collect()
    }

    /// A parameter by name, and its unit.
    pub fn parameter(&self, name: &str) -> Option<(Estimate, Option<&str>)> {
        let entry =
            ["parameters", "at_reference"].into_iter().find_map(|section| self.parameters[section].get(name))?;
        let estimate = Estimate { value: entry["value"].as_f64()?, error: error(&entry["uncertainty"]) };
        Some((estimate, entry["unit"].as_str()))
    }

    /// What keeps a parameter from being fitted freely: "fixed", "at bound".
    pub fn flag(&self, name: &str) -> Option<&'static str> {
        let entry = self.parameters["parameters"].get(name)?;
        [("fixed", "fixed"), ("at_bound", "at bound")].into_iter().find(|(key, _)| entry[key] == true).map(|(_, f)| f)
    }

    /// Time in s at which the values `…_at_t_ref` are meant.
    pub fn t_ref(&self, name: &str) -> Option<f64> {
        self.parameters["at_reference"].get(name)?["t_ref"].as_f64()
    }

    /// Angles in degree, each with contrast, offset and χ² per degree of freedom; none where the file has no such table.
    pub fn angles(&self) -> Vec<(f64, [Option<Estimate>; 3])> {
        let rows = self.parameters["per_angle"].as_array().into_iter().flatten();
        rows.filter_map(|row| {
            let estimate = |name: &str| {
                let error = error(&row[format!("{name}_uncertainty")]);
                row[name].as_f64().map(|value| Estimate { value, error })
            };
            Some((row["phi"].as_f64()?, ["contrast", "offset", "reduced_chi_squared"].map(estimate)))
        })
        .collect()
    }

    /// A value by its path in `parameters.json`, else in `analysis_results_nlsq.json`; `None` also where it is null.
    pub fn get(&self, path: &str) -> Option<&Value> {
        let find = |root| path.split('.').try_fold(root, |at: &Value, key| at.get(key)).filter(|v| !v.is_null());
        find(&self.parameters).or_else(|| find(&self.analysis))
    }

    /// The same as text for people.
    pub fn text(&self, path: &str) -> Option<String> {
        self.get(path).map(|value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        })
    }

    /// The configuration in force, where the results hold it.
    pub fn configuration(&self) -> Option<&Value> {
        self.analysis.get("configuration").filter(|value| value.is_object())
    }

    /// Whether shear is part of the model.
    pub fn has_shear(&self) -> bool {
        self.parameter("gamma_dot_t0").is_some()
    }

    /// Shear convention; the Python package knows one only.
    pub fn convention(&self) -> Option<String> {
        let python = || self.package.map(|_| "homodyne".to_owned());
        self.has_shear().then(|| self.text("shear_convention").or_else(python)).flatten()
    }
}

/// A standard error, where it is one.
fn error(value: &Value) -> Option<f64> {
    value.as_f64().filter(|e| *e > 0.0)
}

fn read_json(file: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(file).map_err(|e| match e.kind() {
        std::io::ErrorKind::InvalidData => Error::data(file, "is damaged: it isn't text"),
        _ => Error::io("read", file, e),
    })?;
    serde_json::from_str(&plain(&text)).map_err(|e| Error::data(file, format!("is damaged: it isn't JSON ({e})")))
}

/// The text with `null` for the numbers that Python writes and JSON doesn't have.
fn plain(text: &str) -> String {
    const WORDS: [&str; 3] = ["NaN", "-Infinity", "Infinity"];
    let mut out = String::with_capacity(text.len());
    let (mut quoted, mut escaped) = (false, false);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if !quoted && let Some(word) = WORDS.iter().find(|word| rest.starts_with(**word)) {
            out.push_str("null");
            rest = &rest[word.len()..];
            continue;
        }
        quoted ^= c == '"' && !escaped;
        escaped = quoted && c == '\\' && !escaped;
        out.push(c);
        rest = &rest[c.len_utf8()..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn numbers_that_json_does_not_have_are_null() {
        let text = r#"{"a": NaN, "b": [-Infinity, Infinity], "NaN \" NaN": "Infinity \\", "c": NaN}"#;
        let expected = r#"{"a": null, "b": [null, null], "NaN \" NaN": "Infinity \\", "c": null}"#;
        assert_eq!(plain(text), expected);
    }
}
