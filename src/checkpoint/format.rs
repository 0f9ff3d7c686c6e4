//! A checkpoint and the file that holds it: an HDF5 file for others, and behind it what this program reads.
//!
//! | path | holds |
//! | --- | --- |
//! | `/state` | the state, bytes; attribute `kind` |
//! | `/configuration` | effective configuration, JSON |
//! | `/identity` | what the run was of, JSON |
//! | `/progress` | how far it was, JSON, for people |
//! | `/` attributes | `format`, `format_version`, `program`, `program_version`, `git_commit`, `created` (ISO 8601, UTC) |
//! | behind the HDF5 file | the contents: all but the state once more, and where in the file the state lies (postcard) |
//! | | their length, 8 bytes, little-endian |
//! | | the seal: format version and digest of all bytes (see `seal`) |
//!
//! libhdf5 writes these files and never reads them: whoever may write into the folder can put one there whose digest is right
//! and whose datasets claim to be of any size, and the library believes it. What is read instead is at most as long as the
//! file.
//!
//! The file is made in memory. libhdf5 lets one thread in at a time, so it mustn't wait for a disk while others read data, and
//! it can't close a file properly on a full disk.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::Path;

use hdf5::H5Type;
use hdf5::types::VarLenUnicode;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{image, seal};
use crate::error::hdf5_reason;
use crate::version::{VERSION, commit};
use crate::{Error, files};

/// Version of the format that this program writes, and the newest that it reads.
pub const FORMAT_VERSION: u32 = 1;

/// What the attribute `format` says.
const FORMAT: &str = "homodyne-mpi checkpoint";

/// What is saved.
///
/// The three JSON values come back equal to what they were, floats to the last bit. JSON has no NaN and no infinity: numbers
/// that can be either belong into the state.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// Which kind of state it is; whoever reads it decides by this how. No NUL in it.
    pub kind: String,
    /// The state that the run goes on from; its meaning is the caller's.
    pub state: Vec<u8>,
    /// The effective configuration.
    pub configuration: Value,
    /// What must be the same when the run goes on: configuration hash, identity of the data, settings that decide about
    /// bits.
    pub identity: Value,
    /// How far the run was, for people. `checkpoint list` shows the keys `elapsed_seconds`, `level`, `iteration`,
    /// `chi_squared`, `passes`, `strategy` and `ranks`; others are kept, missing ones are no fault.
    pub progress: Value,
}

/// A checkpoint as it was read from a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// What was saved.
    pub checkpoint: Checkpoint,
    /// Its number in the folder where it was saved.
    pub number: u64,
    /// When, ISO 8601 in UTC.
    pub created: String,
    /// Version of the program that saved it.
    pub program_version: String,
    /// Size of the file, bytes.
    pub bytes: u64,
}

/// Why a file is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The operating system doesn't give its bytes.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// It isn't as it was written, or never was a checkpoint.
    #[error("is damaged or no checkpoint: {0}")]
    Damaged(String),
    /// It is whole, but was saved under another number than its name says.
    #[error("was saved as number {number} and has been given another name")]
    Renamed {
        /// That number.
        number: u64,
    },
    /// It is whole, but of a format that this version doesn't know.
    #[error("has checkpoint format {found}, and this version knows formats up to {FORMAT_VERSION} only")]
    Newer {
        /// Its format version.
        found: u32,
    },
}

impl Problem {
    /// The error to end with where nothing but this file will do: input that is wrong, or a failed read.
    pub fn into_error(self, file: &Path) -> Error {
        match self {
            Self::Unreadable(message) => Error::io("read", file, message),
            Self::Damaged(_) | Self::Renamed { .. } => Error::data(file, self.to_string()),
            Self::Newer { .. } => Error::data(
                file,
                format!("{self}; go on with the version of the program that wrote it, or begin anew (--resume never)"),
            ),
        }
    }
}

/// Most bytes of a checkpoint's contents beside the state; a configuration has some 10,000.
const MOST_CONTENTS: u64 = 16 << 20;
/// Bytes of the number that says how many these are.
const LENGTH: u64 = size_of::<u64>() as u64;

/// Reads a file and verifies all of it. It takes no more memory than twice the file.
///
/// # Errors
/// A [`Problem`] where it can't be used.
pub fn load(path: &Path) -> Result<Stored, Problem> {
    let failed = |e: std::io::Error| Problem::Unreadable(e.to_string());
    let damaged = |what: &str| Problem::Damaged(what.to_owned());
    let mut file = files::open(path).map_err(|e| match e.kind() {
        ErrorKind::InvalidInput => Problem::Damaged(format!("it {e}")),
        _ => failed(e),
    })?;
    let (found, before_seal) = seal::check(&mut file)?;
    if found > FORMAT_VERSION {
        return Err(Problem::Newer { found });
    }
    let no_contents = || damaged("what this version reads doesn't stand before its last lines");
    let end = before_seal.checked_sub(LENGTH).ok_or_else(no_contents)?;
    let length = part(&file, end, LENGTH)?.try_into().map_or(0, u64::from_le_bytes);
    let begin = end.checked_sub(length).filter(|_| length <= MOST_CONTENTS).ok_or_else(no_contents)?;
    let contents: Contents = postcard::from_bytes(&part(&file, begin, length)?).map_err(|_| no_contents())?;
    let (at, length) = contents.state;
    if at.checked_add(length).is_none_or(|end| end > begin) {
        return Err(damaged("its state is said to be longer than the file"));
    }
    let json = |name: &str, text: &str| {
        serde_json::from_str(text).map_err(|e| Problem::Damaged(format!("/{name} is no JSON: {e}")))
    };
    Ok(Stored {
        checkpoint: Checkpoint {
            configuration: json("configuration", &contents.configuration)?,
            identity: json("identity", &contents.identity)?,
            progress: json("progress", &contents.progress)?,
            kind: contents.kind,
            state: part(&file, at, length)?,
        },
        number: contents.number,
        created: contents.created,
        program_version: contents.program_version,
        bytes: file.metadata().map_err(failed)?.len(),
    })
}

/// So many bytes of a file that has them.
fn part(file: &File, at: u64, length: u64) -> Result<Vec<u8>, Problem> {
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, at).map_err(|e| Problem::Unreadable(e.to_string()))?;
    Ok(bytes)
}

/// All bytes of the file that holds a checkpoint of this number. The error is what libhdf5 said.
pub(super) fn to_bytes(checkpoint: &Checkpoint, number: u64) -> Result<Vec<u8>, String> {
    let mut contents = Contents {
        number,
        program_version: VERSION.to_owned(),
        created: now(),
        kind: checkpoint.kind.clone(),
        configuration: format!("{:#}", checkpoint.configuration),
        identity: format!("{:#}", checkpoint.identity),
        progress: format!("{:#}", checkpoint.progress),
        state: (0, checkpoint.state.len() as u64),
    };
    let (mut bytes, at) = contents.to_hdf5(&checkpoint.state).map_err(hdf5_reason)?;
    contents.state.0 = at;
    let contents = postcard::to_stdvec(&contents).map_err(|e| e.to_string())?;
    bytes.extend(&contents);
    bytes.extend((contents.len() as u64).to_le_bytes());
    Ok(seal::seal(bytes, FORMAT_VERSION))
}

fn now() -> String {
    let now = jiff::Timestamp::now();
    now.round(jiff::Unit::Millisecond).unwrap_or(now).to_string()
}

/// What stands behind the HDF5 file.
#[derive(Serialize, Deserialize)]
struct Contents {
    number: u64,
    program_version: String,
    created: String,
    kind: String,
    configuration: String,
    identity: String,
    progress: String,
    /// Where the state begins in the file, and its length, bytes.
    state: (u64, u64),
}

impl Contents {
    /// The bytes of an HDF5 file with all of it, and where in them the state begins.
    fn to_hdf5(&self, state: &[u8]) -> hdf5::Result<(Vec<u8>, u64)> {
        let file = image::new_file()?;
        for (name, value) in [
            ("format", FORMAT),
            ("program", env!("CARGO_PKG_NAME")),
            ("program_version", &self.program_version),
            ("git_commit", commit()),
            ("created", &self.created),
        ] {
            attribute(&file, name, text(value)?)?;
        }
        attribute(&file, "format_version", FORMAT_VERSION)?;
        let dataset = file.new_dataset_builder().with_data(state).create("state")?;
        attribute(&dataset, "kind", text(&self.kind)?)?;
        for (name, value) in
            [("configuration", &self.configuration), ("identity", &self.identity), ("progress", &self.progress)]
        {
            file.new_dataset::<VarLenUnicode>().create(name)?.write_scalar(&text(value)?)?;
        }
        let bytes = image::bytes_of(&file)?;
        // one without bytes has no place
        let at = dataset.offset().unwrap_or(0);
        file.close()?;
        Ok((bytes, at))
    }
}

fn text(value: &str) -> hdf5::Result<VarLenUnicode> {
    value.parse().map_err(|_| format!("a NUL in the text {value:?}").into())
}

fn attribute<T: H5Type>(at: &hdf5::Location, name: &str, value: T) -> hdf5::Result<()> {
    at.new_attr::<T>().create(name)?.write_scalar(&value)
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    /// A checkpoint with a state of so many bytes.
    pub(crate) fn sample(bytes: usize) -> Checkpoint {
        Checkpoint {
            kind: "search".to_owned(),
            state: (0..bytes).map(|k| (k * 37 % 251) as u8).collect(),
            configuration: json!({"optimization": {"method": "nlsq", "tolerance": 1e-10}, "note": "φ, \u{0} and \"\\"}),
            identity: json!({"data": {"path": "scan7.hdf", "size": 123_456_789_012_u64}, "seed": u64::MAX}),
            progress: json!({"elapsed_seconds": 61.25, "level": 2, "iteration": 17, "chi_squared": 0.1 + 0.2,
                             "passes": 40, "strategy": "STREAMING", "ranks": 4}),
        }
    }

    /// What is found in a file of these bytes.
    fn loaded(bytes: &[u8]) -> Result<Stored, Problem> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        load(file.path())
    }

    #[test]
    fn what_is_read_is_what_was_saved() {
        for bytes in [0, 1, 5000, 3 << 20] {
            let checkpoint = sample(bytes);
            let file = to_bytes(&checkpoint, 7).unwrap();
            let stored = loaded(&file).unwrap();
            assert_eq!(stored.checkpoint, checkpoint);
            assert_eq!((stored.program_version.as_str(), stored.bytes), (VERSION, file.len() as u64));
            assert_eq!(stored.number, 7);
            assert!(stored.created.parse::<jiff::Timestamp>().is_ok(), "{}", stored.created);
            assert!(file.len() < bytes + 12_000, "{} bytes for a state of {bytes}", file.len());
        }
    }

    #[test]
    fn a_newer_format_is_said_to_be_one() {
        let file = seal::seal(b"whatever it is".to_vec(), FORMAT_VERSION + 1);
        let problem = loaded(&file).unwrap_err();
        assert_eq!(problem, Problem::Newer { found: 2 });
        let error = problem.into_error(Path::new("checkpoint-000001.h5"));
        assert_eq!(error.exit_code(), 3);
        let text = error.to_string();
        assert!(text.contains("format 2") && text.contains("formats up to 1") && text.contains("--resume"), "{text}");
    }

    /// A forged file: contents changed at will under a right seal, behind what may be an HDF5 file.
    fn forged(before: &[u8], change: impl FnOnce(&mut Contents)) -> Vec<u8> {
        let mut contents = Contents {
            number: 1,
            program_version: "0".into(),
            created: "never".into(),
            kind: "search".into(),
            configuration: "{}".into(),
            identity: "{}".into(),
            progress: "{}".into(),
            state: (0, before.len() as u64),
        };
        change(&mut contents);
        let contents = postcard::to_stdvec(&contents).unwrap();
        let length = (contents.len() as u64).to_le_bytes();
        seal::seal([before, &contents, &length].concat(), FORMAT_VERSION)
    }

    #[test]
    fn what_is_claimed_under_a_right_seal_is_held_against_the_file() {
        let before = [7; 600];
        assert_eq!(loaded(&forged(&before, |_| ())).unwrap().checkpoint.state, before);
        for state in [(0, 1 << 40), (1 << 40, 1), (u64::MAX, 2), (0, u64::MAX), (600, 1)] {
            let problem = loaded(&forged(&before, |contents| contents.state = state)).unwrap_err();
            assert!(matches!(&problem, Problem::Damaged(why) if why.contains("longer than the file")), "{problem}");
        }
        let deep = "[".repeat(1_000_000);
        assert!(matches!(loaded(&forged(&before, |c| c.progress = deep)), Err(Problem::Damaged(_))));
        // as a file of a version that had no such contents, with any length
        for length in [0, 1, 599, 1 << 20, 1 << 40, u64::MAX] {
            let file = seal::seal([&before[..], &u64::to_le_bytes(length)].concat(), FORMAT_VERSION);
            assert!(matches!(loaded(&file), Err(Problem::Damaged(_))), "{length}");
        }
        assert!(matches!(loaded(&seal::seal(vec![0; 3], FORMAT_VERSION)), Err(Problem::Damaged(_))));
        let nowhere = load(Path::new("/nowhere/checkpoint-000001.h5"));
        assert!(matches!(nowhere, Err(Problem::Unreadable(_))), "{nowhere:?}");
    }

    #[test]
    fn a_kind_that_hdf5_cannot_hold_is_refused() {
        let checkpoint = Checkpoint { kind: "a\0b".to_owned(), ..sample(3) };
        assert!(to_bytes(&checkpoint, 1).unwrap_err().contains("NUL"));
    }
}
