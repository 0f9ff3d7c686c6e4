//! Arguments of `convert` and `compare`.

use std::path::PathBuf;

use clap::Args;

use super::examples::{COMPARE_EXAMPLES, CONVERT_EXAMPLES};
use super::{LayoutName, Verbosity, positive};

/// Arguments of `convert`.
#[derive(Debug, Clone, Args)]
#[command(after_help = CONVERT_EXAMPLES)]
pub struct ConvertArgs {
    /// Data file in any layout that can be read.
    #[arg(value_name = "IN")]
    pub input: PathBuf,
    /// File to write.
    #[arg(value_name = "OUT")]
    pub output: PathBuf,
    /// Layout to write: `native` for large runs, `aps-u` as boost_corr writes it.
    #[arg(long, value_name = "LAYOUT", default_value = "native")]
    pub to: LayoutName,
    /// Configuration whose selection of q, angles and frames to apply.
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Wavevector magnitude to pick, 1/Å [default: the configuration's, else the file must hold one only].
    #[arg(long, value_name = "Q", value_parser = positive)]
    pub q: Option<f64>,
    /// Time between frames, s [default: the configuration's, else the file's].
    #[arg(long, value_name = "SECONDS", value_parser = positive)]
    pub dt: Option<f64>,
    /// Angles to keep, degree, modulo 360; may be repeated [default: the configuration's, else all].
    #[arg(long, value_name = "MIN:MAX", value_parser = angles, allow_hyphen_values = true)]
    pub phi: Vec<(f64, f64)>,
    /// Frames to keep, from 1, the last one included [default: the configuration's, else all].
    #[arg(long, value_name = "FIRST:LAST", value_parser = frames)]
    pub frames: Option<(usize, usize)>,
    /// Compress by gzip, level 1 to 9 [level by default: 4]; native layout only.
    #[arg(long, value_name = "LEVEL", num_args = 0..=1, require_equals = true, default_missing_value = "4",
          value_parser = clap::value_parser!(u8).range(1..=9))]
    pub compress: Option<u8>,
    /// Replace OUT if it is there.
    #[arg(long)]
    pub force: bool,
    /// How much is said.
    #[command(flatten)]
    pub verbosity: Verbosity,
}

/// Arguments of `compare`.
#[derive(Debug, Clone, Args)]
#[command(after_help = COMPARE_EXAMPLES)]
pub struct CompareArgs {
    /// Result folder, of this program or of the Python package.
    #[arg(value_name = "A")]
    pub first: PathBuf,
    /// Another one.
    #[arg(value_name = "B")]
    pub second: PathBuf,
    /// Write the comparison to this file, too.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Replace the file if it is there.
    #[arg(long, requires = "json")]
    pub force: bool,
}

fn frames(text: &str) -> Result<(usize, usize), String> {
    let (first, last) = text.split_once(':').unwrap_or((text, ""));
    match (first.trim().parse(), last.trim().parse()) {
        (Ok(first), Ok(last)) if (1..last).contains(&first) => Ok((first, last)),
        _ => Err("expected two frames, the first from 1, the last after it: FIRST:LAST".to_owned()),
    }
}

fn angles(text: &str) -> Result<(f64, f64), String> {
    let number = |text: &str| text.trim().parse::<f64>().ok().filter(|v| v.is_finite());
    let (min, max) = text.split_once(':').unwrap_or((text, ""));
    number(min).zip(number(max)).ok_or_else(|| "expected two angles in degree: MIN:MAX".to_owned())
}
