//! `parameters.csv` and `per_angle.csv`: the tables of `parameters.json` for spreadsheets. Numbers round-trip exactly; one
//! that isn't finite is an empty cell.

use std::path::Path;

use serde_json::{Map, Value};

use crate::{Result, files};

/// Writes both tables from the content of `parameters.json`; returns their names.
pub(super) fn write(parameters: &Value, folder: &Path) -> Result<[&'static str; 2]> {
    let named = parameters["parameters"].as_object().into_iter().flatten().map(|(name, entry)| {
        let mut row = Map::from_iter([("name".to_owned(), name.as_str().into())]);
        for column in ["value", "uncertainty", "unit", "at_bound", "fixed"] {
            // contrast and offset have no `fixed`
            row.insert(column.to_owned(), entry.get(column).cloned().unwrap_or(Value::Bool(false)));
        }
        row
    });
    let angles = parameters["per_angle"].as_array().into_iter().flatten().filter_map(|row| row.as_object().cloned());
    let names = ["parameters.csv", "per_angle.csv"];
    table(&named.collect::<Vec<_>>(), &folder.join(names[0]))?;
    table(&angles.collect::<Vec<_>>(), &folder.join(names[1]))?;
    Ok(names)
}

/// Writes rows of the same columns under their names.
fn table(rows: &[Map<String, Value>], path: &Path) -> Result<()> {
    files::replace(path, |file| -> std::result::Result<(), csv::Error> {
        let mut file = csv::Writer::from_writer(file);
        if let Some(first) = rows.first() {
            file.write_record(first.keys())?;
        }
        for row in rows {
            file.write_record(row.values().map(cell))?;
        }
        Ok(file.flush()?)
    })
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
