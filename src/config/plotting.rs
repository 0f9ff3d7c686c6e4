//! Pictures: the section `plotting`.

use super::document::{Document, Spot};
use crate::Result;

/// Resolution where the file names none: good on a screen and on paper.
const DPI: u32 = 150;
/// Percentiles between which colours run, where the file names none.
const PERCENTILES: (f64, f64) = (1.0, 99.0);
/// Ends of fixed colours, where the file names none.
const FIXED: (f64, f64) = (1.0, 1.5);

/// How pictures are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureFormat {
    /// As dots.
    Png,
    /// As shapes and text; matrices are dots in it.
    Svg,
}

impl PictureFormat {
    /// The name in the configuration, and how file names end.
    pub fn name(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Svg => "svg",
        }
    }
}

/// From where to where the colours of c2 run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ColorScale {
    /// Over all values, as far as they lie from 1 to 1.6.
    Legacy,
    /// Between two percentiles of the values.
    Percentiles(f64, f64),
    /// Between two values.
    Fixed(f64, f64),
}

/// What pictures are to be like.
#[derive(Debug, Clone, PartialEq)]
pub struct PlotConfig {
    /// Whether a fit draws them.
    pub save: bool,
    /// How they are stored.
    pub format: PictureFormat,
    /// Dots per inch.
    pub dpi: u32,
    /// Their colours.
    pub scale: ColorScale,
}

impl Default for PlotConfig {
    fn default() -> Self {
        Self { save: true, format: PictureFormat::Png, dpi: DPI, scale: ColorScale::Legacy }
    }
}

/// The section, and what is wrong with it: how a picture looks is no reason to refuse a fit.
pub(super) fn plotting(document: &Document) -> Result<(PlotConfig, Vec<String>)> {
    let (default, mut warnings) = (PlotConfig::default(), Vec::new());
    let mut between = |keys, default, scale: fn(f64, f64) -> ColorScale| -> Result<ColorScale> {
        Ok(match range(document, keys, default)? {
            Ok((low, high)) => scale(low, high),
            Err(warning) => {
                warnings.push(warning);
                ColorScale::Legacy
            }
        })
    };
    let scale = match document.choice("plotting.color_scale.mode")? {
        Some("adaptive") => between(["percentile_min", "percentile_max"], PERCENTILES, |low, high| {
            ColorScale::Percentiles(low.clamp(0.0, 100.0), high.clamp(0.0, 100.0))
        })?,
        Some("fixed") => between(["fixed_min", "fixed_max"], FIXED, ColorScale::Fixed)?,
        _ => ColorScale::Legacy,
    };
    let config = PlotConfig {
        save: document.flag("plotting.save_plots", default.save)?,
        format: match document.choice("plotting.format")? {
            Some("svg") => PictureFormat::Svg,
            _ => PictureFormat::Png,
        },
        dpi: document.whole("plotting.dpi", 30, 1200)?.map_or(default.dpi, |spot| spot.value as u32),
        scale,
    };
    if document.text("plotting.format")?.is_some_and(|spot| spot.value.trim().eq_ignore_ascii_case("pdf")) {
        let file = document.source.file.display();
        warnings.push(format!("{file}: `plotting.format: pdf`: pictures are written as svg"));
    }
    Ok((config, warnings))
}

/// Two values, the second above the first; otherwise what to say of them.
fn range(document: &Document, keys: [&str; 2], default: (f64, f64)) -> Result<std::result::Result<(f64, f64), String>> {
    let [low, high] = keys.map(|key| document.number(&format!("plotting.color_scale.{key}")));
    let (low, high): (Option<Spot<f64>>, Option<Spot<f64>>) = (low?, high?);
    let (low, high) = (low.map_or(default.0, |spot| spot.value), high.map_or(default.1, |spot| spot.value));
    let empty = || {
        let file = document.source.file.display();
        format!("{file}: `plotting.color_scale`: {} isn't above {}, so colours run over all values", keys[1], keys[0])
    };
    Ok(if low < high { Ok((low, high)) } else { Err(empty()) })
}
