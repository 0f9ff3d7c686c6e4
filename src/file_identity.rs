//! Knowing a file again.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Blocks of a file that are hashed, spread evenly from its beginning to its end.
const BLOCKS: u64 = 16;
/// Bytes in one.
const BLOCK: u64 = 1 << 16;

/// By what a file is known again, on another machine or later, whatever its name and time of change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileIdentity {
    /// Its length in bytes.
    pub size: u64,
    /// BLAKE3 of a megabyte of it, or all of a smaller one, in hexadecimal.
    pub sample_hash: String,
}

impl FileIdentity {
    /// Reads the sample.
    ///
    /// # Errors
    /// The system's.
    pub fn of(path: &Path) -> std::io::Result<Self> {
        let mut file = File::open(path)?;
        let (size, mut hasher, mut block) = (file.metadata()?.len(), blake3::Hasher::new(), Vec::new());
        for k in 0..BLOCKS {
            file.seek(SeekFrom::Start(size.saturating_sub(BLOCK) * k / (BLOCKS - 1)))?;
            block.clear();
            (&mut file).take(BLOCK).read_to_end(&mut block)?;
            hasher.update(&block);
        }
        Ok(Self { size, sample_hash: hasher.finalize().to_hex().to_string() })
    }
}
