//! A checkpoint and the HDF5 file that holds it.
//!
//! | path | holds |
//! | --- | --- |
//! | `/state` | the state, bytes; attribute `kind` |
//! | `/configuration` | effective configuration, JSON |
//! | `/identity` | what the run was of, JSON |
//! | `/progress` | how far it was, JSON, for people |
//! | `/` attributes | `format`, `format_version`, `program`, `program_version`, `git_commit`, `created` (ISO 8601, UTC), `checksum` |
//! | behind the HDF5 file | the seal: format version and digest of all bytes (see `seal`) |
//!
//! `checksum` is the BLAKE3 hash of the contents: for `program_version`, `created`, `kind`, state, configuration, identity
//! and progress in this order the number of bytes (8 bytes, little-endian), then the bytes. The digest says that a file is as
//! it was written, the checksum that what was read from it is what was saved.
//!
//! The file is made in memory. libhdf5 lets one thread in at a time, so it mustn't wait for a disk while others read data, and
//! it can't close a file properly on a full disk.

use std::fs::File;
use std::path::Path;

use hdf5::H5Type;
use hdf5::types::VarLenUnicode;
use serde_json::Value;

use super::{image, seal};
use crate::Error;
use crate::error::hdf5_reason;

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
            Self::Damaged(_) => Error::data(file, self.to_string()),
            Self::Newer { .. } => Error::data(
                file,
                format!("{self}; go on with the version of the program that wrote it, or begin anew (--resume never)"),
            ),
        }
    }
}

/// Reads a file and verifies all of it.
///
/// # Errors
/// A [`Problem`] where it can't be used.
pub fn load(path: &Path) -> Result<Stored, Problem> {
    let failed = |e: std::io::Error| Problem::Unreadable(e.to_string());
    let mut file = File::open(path).map_err(failed)?;
    let found = seal::check(&mut file)?;
    if found > FORMAT_VERSION {
        return Err(Problem::Newer { found });
    }
    let damaged = |what: String| Problem::Damaged(what);
    let (contents, state, checksum) = Contents::read(path).map_err(|e| damaged(hdf5_reason(e)))?;
    if contents.checksum(&state) != checksum {
        return Err(damaged("its contents don't have the checksum that stands in it".to_owned()));
    }
    let json =
        |name: &str, text: &str| serde_json::from_str(text).map_err(|e| damaged(format!("/{name} is no JSON: {e}")));
    Ok(Stored {
        checkpoint: Checkpoint {
            configuration: json("configuration", &contents.configuration)?,
            identity: json("identity", &contents.identity)?,
            progress: json("progress", &contents.progress)?,
            kind: contents.kind,
            state,
        },
        created: contents.created,
        program_version: contents.program_version,
        bytes: file.metadata().map_err(failed)?.len(),
    })
}

/// All bytes of the file that holds a checkpoint. The error is what libhdf5 said.
pub(super) fn to_bytes(checkpoint: &Checkpoint) -> Result<Vec<u8>, String> {
    let contents = Contents {
        program_version: env!("CARGO_PKG_VERSION").to_owned(),
        created: now(),
        kind: checkpoint.kind.clone(),
        configuration: format!("{:#}", checkpoint.configuration),
        identity: format!("{:#}", checkpoint.identity),
        progress: format!("{:#}", checkpoint.progress),
    };
    let bytes = contents.to_hdf5(&checkpoint.state).map_err(hdf5_reason)?;
    Ok(seal::seal(bytes, FORMAT_VERSION))
}

fn now() -> String {
    let now = jiff::Timestamp::now();
    now.round(jiff::Unit::Millisecond).unwrap_or(now).to_string()
}

/// The texts in a file.
struct Contents {
    program_version: String,
    created: String,
    kind: String,
    configuration: String,
    identity: String,
    progress: String,
}

impl Contents {
    fn checksum(&self, state: &[u8]) -> String {
        let texts = [&self.configuration, &self.identity, &self.progress].map(String::as_bytes);
        let before = [&self.program_version, &self.created, &self.kind].map(String::as_bytes);
        let mut hasher = blake3::Hasher::new();
        for part in before.into_iter().chain([state]).chain(texts) {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        hasher.finalize().to_hex().to_string()
    }

    /// The bytes of an HDF5 file with all of it.
    fn to_hdf5(&self, state: &[u8]) -> hdf5::Result<Vec<u8>> {
        let file = image::new_file()?;
        for (name, value) in [
            ("format", FORMAT),
            ("program", env!("CARGO_PKG_NAME")),
            ("program_version", &self.program_version),
            ("git_commit", env!("HOMODYNE_GIT_COMMIT")),
            ("created", &self.created),
            ("checksum", &self.checksum(state)),
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
        file.close()?;
        Ok(bytes)
    }

    /// The texts, the state and the checksum that stands in the file.
    fn read(path: &Path) -> hdf5::Result<(Self, Vec<u8>, String)> {
        let file = hdf5::File::open(path)?;
        let of_attribute = |at: &hdf5::Location, name: &str| -> hdf5::Result<String> {
            at.attr(name)?.read_scalar::<VarLenUnicode>().map(|text| text.to_string())
        };
        let of_dataset = |name: &str| -> hdf5::Result<String> {
            file.dataset(name)?.read_scalar::<VarLenUnicode>().map(|text| text.to_string())
        };
        let state = file.dataset("state")?;
        let contents = Self {
            program_version: of_attribute(&file, "program_version")?,
            created: of_attribute(&file, "created")?,
            kind: of_attribute(&state, "kind")?,
            configuration: of_dataset("configuration")?,
            identity: of_dataset("identity")?,
            progress: of_dataset("progress")?,
        };
        Ok((contents, state.read_raw()?, of_attribute(&file, "checksum")?))
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
            let file = to_bytes(&checkpoint).unwrap();
            let stored = loaded(&file).unwrap();
            assert_eq!(stored.checkpoint, checkpoint);
            assert_eq!((stored.program_version.as_str(), stored.bytes), (env!("CARGO_PKG_VERSION"), file.len() as u64));
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

    #[test]
    fn other_contents_under_a_fresh_seal_are_found() {
        let checkpoint = sample(1000);
        let mut file = to_bytes(&checkpoint).unwrap();
        let at = file.windows(1000).position(|part| part == checkpoint.state).unwrap();
        file[at + 500] ^= 1;
        let problem = loaded(&seal::seal(file, FORMAT_VERSION)).unwrap_err();
        assert!(matches!(&problem, Problem::Damaged(why) if why.contains("checksum")), "{problem}");
        // no HDF5 file before the seal
        assert!(matches!(loaded(&seal::seal(vec![0; 600], FORMAT_VERSION)), Err(Problem::Damaged(_))));
        let nowhere = load(Path::new("/nowhere/checkpoint-000001.h5"));
        assert!(matches!(nowhere, Err(Problem::Unreadable(_))), "{nowhere:?}");
    }

    #[test]
    fn a_kind_that_hdf5_cannot_hold_is_refused() {
        let checkpoint = Checkpoint { kind: "a\0b".to_owned(), ..sample(3) };
        assert!(to_bytes(&checkpoint).unwrap_err().contains("NUL"));
    }
}
