//! `compare`: two results side by side, in units of their errors.

use std::io::Write;
use std::path::Path;

use crate::output::{Comparison, Results};
use crate::{Result, files};

/// Prints how the results in `second` differ from those in `first`, and writes the same to a JSON file where one is
/// named.
///
/// # Errors
/// [`crate::Error::Data`] where a folder holds no results or damaged ones, [`crate::Error::Io`] where writing fails.
pub fn compare(first: &Path, second: &Path, json: Option<&Path>, out: &mut impl Write) -> Result<()> {
    let (first, second) = (Results::read(first)?, Results::read(second)?);
    let comparison = Comparison::new(&first, &second);
    if let Some(file) = json {
        let text = format!("{:#}\n", comparison.json());
        files::write(file, &text)?;
    }
    super::heard(comparison.print(out))
}
