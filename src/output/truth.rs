//! True values written by `simulate`, to be printed beside the fitted ones.

use std::path::Path;

use serde::Deserialize;

use crate::{Error, Result, files};

/// Largest file that is read: a line for each angle has some 60 bytes.
const MAX_BYTES: u64 = 16 << 20;

/// The truth behind simulated data.
#[derive(Debug, Clone, Deserialize)]
pub struct Truth {
    /// Physical parameters by name.
    pub params: std::collections::BTreeMap<String, f64>,
    /// Shear convention that the parameters are meant in.
    pub shear_convention: Option<String>,
    /// Contrast of every angle.
    pub contrast: Vec<f64>,
    /// Offset of every angle.
    pub offset: Vec<f64>,
}

impl Truth {
    /// Reads the JSON file that `simulate` writes beside its data.
    ///
    /// # Errors
    /// [`Error::Data`] when the file is missing or isn't such a file.
    pub fn read(path: &Path) -> Result<Self> {
        let text =
            files::read(path, MAX_BYTES).map_err(|e| Error::data(path, format!("cannot read the truth: {e}")))?;
        serde_json::from_slice(&text)
            .map_err(|e| Error::data(path, format!("not a truth file as `simulate` writes it: {e}")))
    }
}
