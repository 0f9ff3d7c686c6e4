//! What differs between two results, and what that means for their numbers.

use std::io::Write;

use serde_json::{Value, json};

use super::Table;
use super::console::{plain, with_error};
use super::results::{Estimate, Results};
use crate::dataset::short;
use crate::settings::{self, Difference, Matters};
use crate::text::wrapped;

/// Angles closer than this, degree, are the same.
const SAME_ANGLE: f64 = 1e-6;
/// Times closer than this, relatively, are the same.
const SAME_TIME: f64 = 1e-9;
/// Columns of text.
const WIDTH: usize = 96;

/// What the results say of the fit and its data, by name and place in the files.
const FACTS: [(&str, &str); 10] = [
    ("scaling mode", "optimization_summary.scaling_mode"),
    ("sigma", "fit_quality.sigma"),
    ("data file", "dataset_info.file"),
    ("layout", "dataset_info.layout"),
    ("first frame", "dataset_info.start_frame"),
    ("frames", "dataset_info.n_frames"),
    ("angles", "dataset_info.n_angles"),
    ("q (1/Å)", "dataset_info.q_value"),
    ("dt (s)", "dataset_info.dt"),
    ("version", "version"),
];

/// What the configuration says, too, for results that don't hold theirs.
const CONFIGURED: [(&str, &str); 3] =
    [("analysis mode", "analysis_mode"), ("time origin", "time_origin"), ("loss", "fit_quality.loss")];

/// Of a parameter that isn't determined: in units of the other error alone its difference says nothing.
const NO_ERROR: &str = "without an error";

/// Most characters of a value in a table.
const LONGEST: usize = 30;

/// Figures of the whole fit.
const STATISTICS: [(&str, &str); 10] = [
    ("chi squared", "chi_squared"),
    ("chi squared / DOF", "reduced_chi_squared"),
    ("the same against noise", "fit_quality.reduced_chi_squared_against_noise"),
    ("smooth part", "fit_quality.smooth_part.ratio"),
    ("degrees of freedom", "fit_quality.degrees_of_freedom"),
    ("pairs fitted", "dataset_info.n_pairs"),
    ("noise estimate", "fit_quality.noise_estimate"),
    ("convergence", "convergence_status"),
    ("quality", "fit_quality.quality_flag"),
    ("time (s)", "optimization_summary.execution_time"),
];

/// A number in both results, where it is in both.
struct Row {
    name: String,
    unit: String,
    values: [Option<Estimate>; 2],
    /// What keeps it from being free, by result.
    flags: [Option<&'static str>; 2],
}

impl Row {
    fn difference(&self) -> Option<f64> {
        self.values[0].zip(self.values[1]).map(|(a, b)| b.value - a.value)
    }

    /// B − A over the root of the sum of the squared errors that are known.
    fn in_sigma(&self) -> Option<f64> {
        if self.flags.contains(&Some(NO_ERROR)) {
            return None;
        }
        let errors: Vec<f64> = self.values.iter().flatten().filter_map(|e| e.error).collect();
        let sigma = errors.iter().map(|e| e * e).sum::<f64>().sqrt();
        self.difference().filter(|_| sigma > 0.0).map(|d| d / sigma)
    }
}

/// Two results side by side.
pub struct Comparison<'a> {
    results: [&'a Results; 2],
    parameters: Vec<Row>,
    /// Contrast, offset and χ²/DOF of every angle, in degree.
    angles: Vec<(f64, [Row; 3])>,
    notes: Vec<String>,
}

impl<'a> Comparison<'a> {
    /// Of A and B.
    pub fn new(a: &'a Results, b: &'a Results) -> Self {
        let results = [a, b];
        Self { results, parameters: parameters(results), angles: angles(results), notes: notes(results) }
    }

    /// What isn't the same of what results say of themselves, as name and both values. The Python packages say little: what they
    /// don't is not compared.
    fn different_facts(&self) -> Vec<(&'static str, [Option<String>; 2])> {
        let is_known = |values: &[Option<String>; 2]| {
            values.iter().zip(self.results).all(|(value, r)| value.is_some() || r.package.is_none())
        };
        let convention = ("shear convention", self.results.map(Results::convention));
        let of = |(name, path)| (name, self.results.map(|r: &Results| r.text(path)));
        let configured = CONFIGURED.into_iter().map(of).chain([convention]).filter(|_| !self.both_configured());
        configured
            .chain(FACTS.into_iter().map(of))
            .filter(|(_, values)| is_known(values) && values[0] != values[1])
            .collect()
    }

    /// Whether both results hold the configuration that they were made with.
    fn both_configured(&self) -> bool {
        self.results.iter().all(|r| r.configuration().is_some())
    }

    /// Keys of the configurations in force that aren't the same, what matters most first; none where one isn't known.
    fn different_keys(&self) -> Vec<(Difference, Matters)> {
        let [Some(a), Some(b)] = self.results.map(Results::configuration) else { return Vec::new() };
        let with_matters = |d: Difference| {
            let matters = Matters::of(&d.path);
            (d, matters)
        };
        let mut found: Vec<_> = settings::differences(a, b).into_iter().map(with_matters).collect();
        found.sort_by_key(|(_, matters)| *matters);
        found
    }

    /// Prints tables for people.
    ///
    /// # Errors
    /// Those of writing.
    pub fn print(&self, out: &mut impl Write) -> std::io::Result<()> {
        for (letter, r) in ["A", "B"].iter().zip(self.results) {
            let by = r.package.map_or(String::new(), |name| format!(", by {name}"));
            let when = r.text("timestamp").map_or(String::new(), |t| format!(", {t}"));
            writeln!(out, "{letter}  {}{by}{when}", r.path.display())?;
        }
        self.print_settings(out)?;

        writeln!(out, "\nParameters")?;
        let mut table = Table::new(&["", "A", "B", "unit", "B − A", "in σ", ""], &[0, 1, 2, 3, 6]);
        self.parameters.iter().for_each(|row| table.row(cells(row)));
        table.print(out)?;
        if let Some((row, sigmas)) = self.farthest() {
            writeln!(out, "  farthest apart: {}, by {sigmas:.2} σ", row.name)?;
        }
        self.print_angles(out)?;

        writeln!(out, "\nStatistics")?;
        let mut table = Table::new(&["", "A", "B"], &[0]);
        for (name, path) in STATISTICS {
            let values = self.results.map(|r| r.get(path));
            if values.iter().any(Option::is_some) {
                let [a, b] = values.map(|v| v.map_or_else(absent, figure));
                table.row([name.to_owned(), a, b]);
            }
        }
        table.print(out)?;
        if !self.notes.is_empty() {
            writeln!(out, "\nTo bear in mind")?;
        }
        self.notes.iter().try_for_each(|note| writeln!(out, "  ! {}", wrapped(note, WIDTH, "    ")))
    }

    fn print_settings(&self, out: &mut impl Write) -> std::io::Result<()> {
        let (facts, mut keys) = (self.different_facts(), self.different_keys());
        let matters = |(_, matters): &(Difference, Matters)| *matters != Matters::Nothing;
        let idle: Vec<String> = keys.iter().filter(|key| !matters(key)).map(|(key, _)| key.path.clone()).collect();
        keys.retain(matters);
        if facts.is_empty() && keys.is_empty() {
            let said = if self.both_configured() {
                "Configuration and data are the same in both."
            } else {
                "What both say of their settings is the same."
            };
            writeln!(out, "\n{said}")?;
        }
        if !facts.is_empty() {
            writeln!(out, "\nFits that differ")?;
            let mut table = Table::new(&["", "A", "B"], &[0, 1, 2]);
            for (name, values) in facts {
                let [a, b] = values.map(|v| v.unwrap_or_else(absent));
                table.row([name.to_owned(), a, b]);
            }
            table.print(out)?;
        }
        if !keys.is_empty() {
            writeln!(out, "\nConfigurations that differ")?;
            let mut table = Table::new(&["key", "A", "B", "matters for"], &[0, 1, 2, 3]);
            for (Difference { path, values }, matters) in keys {
                let [a, b] = values.each_ref().map(setting);
                table.row([path, a, b, matters.words().to_owned()]);
            }
            table.print(out)?;
        }
        if !idle.is_empty() {
            let text = format!("without an influence on the numbers differ {}", idle.join(", "));
            writeln!(out, "  {}", wrapped(&text, WIDTH, "    "))?;
        }
        for (letter, r) in ["A", "B"].iter().zip(self.results) {
            if r.configuration().is_none() {
                let whose = r.package.unwrap_or("an older version of this program");
                writeln!(
                    out,
                    "  {letter} doesn't hold its configuration (it is of {whose}): settings that it doesn't name aren't compared"
                )?;
            }
        }
        Ok(())
    }

    fn print_angles(&self, out: &mut impl Write) -> std::io::Result<()> {
        if self.angles.is_empty() {
            return Ok(());
        }
        writeln!(out, "\nAngles")?;
        let columns =
            ["φ (degree)", "contrast A", "contrast B", "in σ", "offset A", "offset B", "in σ", "χ²/DOF A", "χ²/DOF B"];
        let mut table = Table::new(&columns, &[1, 2, 4, 5]);
        for (phi, [contrast, offset, chi2]) in &self.angles {
            let [contrast_a, contrast_b] = contrast.values.map(estimate);
            let [offset_a, offset_b] = offset.values.map(estimate);
            let [chi2_a, chi2_b] = chi2.values.map(|v| v.map_or_else(absent, |e| format!("{:.4}", e.value)));
            let [contrast, offset] = [contrast, offset].map(sigmas);
            let phi = short(*phi);
            table.row([phi, contrast_a, contrast_b, contrast, offset_a, offset_b, offset, chi2_a, chi2_b]);
        }
        table.print(out)
    }

    /// The fitted parameter whose values are farthest apart, in σ.
    fn farthest(&self) -> Option<(&Row, f64)> {
        let apart = self.parameters.iter().filter_map(|row| Some((row, row.in_sigma()?.abs())));
        apart.filter(|(_, sigmas)| *sigmas > 0.0).max_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// The same for machines.
    pub fn json(&self) -> Value {
        let value = |e: Option<Estimate>| e.map(|e| json!({ "value": e.value, "uncertainty": e.error }));
        let row = |row: &Row| {
            let [a, b] = row.values.map(value);
            json!({ "a": a, "b": b, "difference": row.difference(), "in_sigma": row.in_sigma() })
        };
        let name = |row: &Row, mut value: Value| {
            value["name"] = row.name.as_str().into();
            value["unit"] = row.unit.as_str().into();
            value
        };
        let angle = |(phi, rows): &(f64, [Row; 3])| {
            let [contrast, offset, reduced] = rows.each_ref().map(row);
            json!({ "phi": phi, "contrast": contrast, "offset": offset, "reduced_chi_squared": reduced })
        };
        let pair = |[a, b]: [Value; 2]| json!({ "a": a, "b": b });
        let statistics = STATISTICS.iter().map(|(_, path)| {
            let key = path.rsplit('.').next().unwrap_or(path).to_owned();
            (key, pair(self.results.map(|r| r.get(path).cloned().unwrap_or(Value::Null))))
        });
        let facts = self.different_facts().into_iter();
        let facts =
            facts.map(|(name, values)| (name.to_owned(), pair(values.map(|v| v.map_or(Value::Null, Value::from)))));
        let keys = self.different_keys().into_iter().map(|(Difference { path, values: [a, b] }, matters)| {
            (path, json!({ "a": a, "b": b, "matters_for": matters.words() }))
        });
        json!({
            "folders": pair(self.results.map(|r| r.path.display().to_string().into())),
            "of_python": pair(self.results.map(|r| r.package.is_some().into())),
            "settings_that_differ": facts.collect::<serde_json::Map<_, _>>(),
            "configuration_that_differs": keys.collect::<serde_json::Map<_, _>>(),
            "parameters": self.parameters.iter().map(|r| name(r, row(r))).collect::<Vec<_>>(),
            "per_angle": self.angles.iter().map(angle).collect::<Vec<_>>(),
            "statistics": statistics.collect::<serde_json::Map<_, _>>(),
            "notes": self.notes,
        })
    }
}

fn parameters(results: [&Results; 2]) -> Vec<Row> {
    let [a, b] = results;
    let mut names = a.names();
    names.extend(b.names().into_iter().filter(|name| a.parameter(name).is_none()));
    let comparable = |name: &&str| match (a.t_ref(name), b.t_ref(name)) {
        // at another time the same rate has another value
        (Some(s), Some(t)) => (s - t).abs() <= SAME_TIME * s.abs().max(t.abs()),
        (None, None) => true,
        _ => false,
    };
    let row = |name: &str| {
        let found = results.map(|r| r.parameter(name));
        Row {
            name: name.to_owned(),
            unit: found.iter().flatten().find_map(|(_, unit)| *unit).unwrap_or("").to_owned(),
            values: found.map(|f| f.map(|(estimate, _)| estimate)),
            flags: [0, 1].map(|k| {
                let has_none =
                    found[k].is_some_and(|(estimate, _)| estimate.error.is_none()) && results[k].package.is_none();
                results[k].flag(name).or(has_none.then_some(NO_ERROR))
            }),
        }
    };
    names.into_iter().filter(comparable).map(row).collect()
}

fn angles(results: [&Results; 2]) -> Vec<(f64, [Row; 3])> {
    let tables = results.map(Results::angles);
    let mut phi: Vec<f64> = tables[0].iter().map(|row| row.0).collect();
    let is_known = |phi: &[f64], one: f64| phi.iter().any(|p| (p - one).abs() <= SAME_ANGLE);
    let others: Vec<f64> = tables[1].iter().map(|row| row.0).filter(|&one| !is_known(&phi, one)).collect();
    phi.extend(others);
    let row = |phi: f64| {
        let found =
            tables.each_ref().map(|table| table.iter().find(|row| (row.0 - phi).abs() <= SAME_ANGLE).map(|row| row.1));
        let of = |column: usize, name: &str| Row {
            name: name.to_owned(),
            unit: "1".to_owned(),
            values: found.map(|values| values.and_then(|v| v[column])),
            flags: [None, None],
        };
        (phi, [of(0, "contrast"), of(1, "offset"), of(2, "reduced_chi_squared")])
    };
    phi.into_iter().map(row).collect()
}

/// What differs and changes the meaning of the numbers.
fn notes([a, b]: [&Results; 2]) -> Vec<String> {
    let mut notes = Vec::new();
    let mut note = |is_so: bool, text: String| notes.extend(is_so.then_some(text));
    if let (Some(x), Some(y)) = (a.convention(), b.convention()) {
        note(
            x != y,
            format!(
                "the shear conventions differ (A: {x}, B: {y}): for the same data, shear rates under `homodyne` come out about \
                 2.2 times larger than under `theory`; gamma_dot_t0 and gamma_dot_t_offset can't be compared as they are"
            ),
        );
    }
    note(a.has_shear() != b.has_shear(), "the models differ: one of them has no shear".into());
    for (letter, r) in [("A", a), ("B", b)] {
        note(
            r.package.is_some() && a.package.is_some() != b.package.is_some(),
            format!(
                "{letter} is of {}, which counts every pair twice: its χ² is about twice as large, and \
                 errors that it takes from there are √2 too small",
                r.package.unwrap_or_default()
            ),
        );
    }
    let both = |path: &str| a.text(path).zip(b.text(path));
    if let Some((x, y)) = both("time_origin").filter(|(x, y)| x != y) {
        let text = format!("t = 0 lies elsewhere (A: {x}, B: {y}): rates that depend on t don't mean the same");
        note(true, text);
    }
    if let Some((x, y)) = both("dataset_info.start_frame").filter(|(x, y)| x != y)
        && both("time_origin").is_some_and(|(x, y)| x == y && x == "selection")
    {
        let text = format!(
            "t = 0 lies at the first frame of each (A: {x}, B: {y}): rates that depend on t don't mean the same"
        );
        note(true, text);
    }
    match both("data_hash") {
        Some((x, y)) if x == y => note(
            true,
            "the data are the same in both, and so is their noise: where the settings agree, too, differences are far below 1 σ; \
             larger ones come from the settings"
                .into(),
        ),
        Some(_) if both("dataset_info.file").is_some_and(|(x, y)| x == y) => note(
            true,
            "what is fitted of the data file isn't the same: values, frames, angles, q or dt differ (they go into the hash)".into(),
        ),
        Some(_) => note(true, "the data aren't the same: values, frames, angles, q or dt differ (they go into the hash)".into()),
        None => {
            let differ = |path: &str| both(path).is_some_and(|(x, y)| x != y);
            let sizes = ["dataset_info.n_angles", "dataset_info.n_time_points"];
            note(sizes.iter().any(|path| differ(path)), "the data aren't the same (angles or frames differ)".into());
        }
    }
    let given = |r: &Results| r.get("fit_quality.sigma").and_then(Value::as_f64);
    if let (Some(x), Some(y)) = (given(a), given(b)) {
        note(x != y, "σ of the data differs: χ² and χ²/DOF are in different units".into());
    }
    for (letter, r) in [("A", a), ("B", b)] {
        let status = r.text("convergence_status").unwrap_or_default();
        note(!status.is_empty() && status != "converged", format!("{letter} has not converged ({status})"));
    }
    notes
}

fn cells(row: &Row) -> [String; 7] {
    let [a, b] = row.values.map(estimate);
    let difference = row.difference().map_or_else(absent, |d| format!("{d:.3e}"));
    let flags: Vec<String> =
        ["A", "B"].iter().zip(row.flags).filter_map(|(letter, flag)| Some(format!("{letter} {}", flag?))).collect();
    [row.name.clone(), a, b, row.unit.clone(), difference, sigmas(row), flags.join(", ")]
}

fn sigmas(row: &Row) -> String {
    row.in_sigma().map_or_else(absent, |sigmas| format!("{sigmas:+.2}"))
}

fn estimate(value: Option<Estimate>) -> String {
    value.map_or_else(absent, |e| with_error(e.value, e.error.unwrap_or(f64::NAN)))
}

fn figure(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => number.as_f64().map_or_else(absent, plain),
        other => other.to_string(),
    }
}

/// A value of a configuration, as a file would have it.
fn setting(value: &Value) -> String {
    let text = match value {
        Value::Number(number) if number.is_f64() => number.as_f64().map_or_else(absent, crate::config::figure),
        Value::Object(entry) if entry.contains_key("min") => {
            format!("{} to {}", setting(&entry["min"]), setting(&value["max"]))
        }
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn absent() -> String {
    "-".to_owned()
}
