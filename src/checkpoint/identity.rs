//! What must be the same for a run to go on from a checkpoint: the program, what was asked for, and the data.

use std::path::Path;
use std::time::UNIX_EPOCH;

use serde_json::{Value, json};

use crate::file_identity::FileIdentity;
use crate::settings::{self, Difference, deciding};
use crate::version::{VERSION, commit};
use crate::{Error, Result};

/// Identity of a run: program, configuration in force, data file.
///
/// # Errors
/// [`Error::Io`] where the data file can't be read.
pub fn identity(configuration: &Value, data: &Path) -> Result<Value> {
    let asked = deciding(configuration);
    Ok(json!({
        "program": { "version": VERSION, "git_commit": commit() },
        "configuration_hash": blake3::hash(asked.to_string().as_bytes()).to_hex().to_string(),
        "configuration": asked,
        "data": of_file(data).map_err(|e| Error::io("read", data, e))?,
    }))
}

/// Path, size, time of change and a hash of a sample of a file.
fn of_file(path: &Path) -> std::io::Result<Value> {
    let FileIdentity { size, sample_hash } = FileIdentity::of(path)?;
    let modified = path.metadata()?.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    Ok(json!({
        "path": std::path::absolute(path)?.to_string_lossy(),
        "size": size,
        "modified": modified.map(|time| time.as_secs_f64()),
        "sample_hash": sample_hash,
    }))
}

/// Why a run that is `now` can't go on from one that was `then`; empty where it can. A data file may have been moved or
/// touched: its hash decides when it has been read.
pub fn differences(then: &Value, now: &Value) -> Vec<String> {
    let said = |found: Difference| format!("{} was {}, is {}", found.path, found.values[0], found.values[1]);
    let mut found: Vec<String> = ["program", "configuration"]
        .iter()
        .flat_map(|&part| settings::differences(&then[part], &now[part]))
        .map(said)
        .collect();
    for (key, name) in [("size", "size of the data file"), ("sample_hash", "contents of the data file")] {
        let (then, now) = (&then["data"][key], &now["data"][key]);
        found.extend((then != now).then(|| format!("{name} was {then}, is {now}")));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_decides_about_the_result_must_be_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let (file, other) = (folder.path().join("a.h5"), folder.path().join("b.h5"));
        let bytes: Vec<u8> = (0..3_000_000u32).map(|k| (k % 251) as u8).collect();
        std::fs::write(&file, &bytes).unwrap();
        std::fs::copy(&file, &other).unwrap();
        let configuration = json!({
            "analysis_mode": "static",
            "experimental_data": { "file_path": "a.h5", "exchange_key": null },
            "performance": { "computation": { "cpu_threads": 2 } },
            "optimization": { "nlsq": { "loss": "linear" }, "streaming": { "checkpoint_frequency": 10 } },
        });
        let then = identity(&configuration, &file).unwrap();
        let mut same = configuration.clone();
        same["performance"]["computation"]["cpu_threads"] = json!(5);
        same["experimental_data"]["file_path"] = json!("b.h5");
        same["optimization"]["streaming"]["checkpoint_frequency"] = json!(1);
        same["distributed"] = json!({ "silence_limit": 5.0 });
        let now = identity(&same, &other).unwrap();
        assert_eq!(differences(&then, &now), Vec::<String>::new());
        assert_eq!(then["configuration_hash"], now["configuration_hash"]);
        assert_ne!(then["data"]["path"], now["data"]["path"]);

        let mut changed = configuration.clone();
        changed["optimization"]["nlsq"]["loss"] = json!("cauchy");
        let now = identity(&changed, &file).unwrap();
        assert_eq!(differences(&then, &now), ["optimization.nlsq.loss was \"linear\", is \"cauchy\""]);
        assert_ne!(then["configuration_hash"], now["configuration_hash"]);

        std::fs::write(&other, &bytes[..2_999_999]).unwrap();
        let found = differences(&then, &identity(&configuration, &other).unwrap());
        assert_eq!(found[0], "size of the data file was 3000000, is 2999999");
        let mut bytes = bytes;
        bytes[2_990_000] ^= 1;
        std::fs::write(&other, &bytes).unwrap();
        let found = differences(&then, &identity(&configuration, &other).unwrap());
        assert!(found.len() == 1 && found[0].starts_with("contents of the data file"), "{found:?}");
    }

    #[test]
    fn small_files_have_an_identity_too() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("small");
        for bytes in [&b""[..], b"x"] {
            std::fs::write(&file, bytes).unwrap();
            assert_eq!(of_file(&file).unwrap()["size"], bytes.len());
        }
        assert!(identity(&Value::Null, &folder.path().join("none")).is_err());
    }
}
