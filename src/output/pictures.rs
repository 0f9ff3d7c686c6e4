//! Pictures of matrices: `c2_heatmaps_phi_<φ>deg.png` or `.svg`, one an angle, data, fit and residual side by side.
//!
//! The maps are block averages, painted dot by dot; axes, colour bars and text are drawn over them.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Once;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontStyle, register_font};
use rayon::prelude::*;

use super::drawn;
use super::views::Colors;
use crate::config::{PictureFormat, PlotConfig};
use crate::gram::overview::Cells;
use crate::{Error, Result, files};

/// A range of colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Palette {
    /// Of c2: perceptually uniform, readable in grey and for the colour-blind.
    C2,
    /// Of what lies about zero: blue below, red above.
    Residual,
}

impl Palette {
    /// The colour of a value; grey where there is none.
    fn color(self, value: f64, low: f64, high: f64) -> [u8; 3] {
        if value.is_nan() {
            return MISSING;
        }
        let part = ((value - low) / (high - low)).clamp(0.0, 1.0);
        match self {
            Self::C2 => colorous::VIRIDIS.eval_continuous(part).as_array(),
            Self::Residual => colorous::RED_BLUE.eval_continuous(1.0 - part).as_array(),
        }
    }

    /// A table of 256 colours from least to greatest, three bytes each.
    pub(super) fn table(self) -> Vec<u8> {
        (0..256).flat_map(|k| self.color(f64::from(k), 0.0, 255.0)).collect()
    }
}

/// Cells without a value.
const MISSING: [u8; 3] = [200, 200, 200];
/// Side of a map, inches.
const SIDE: f64 = 3.0;
/// Inches between the left edge of a panel and its map.
const LEFT: f64 = 0.7;
/// Inches between a map and the right edge of its panel, where the colour bar is.
const RIGHT: f64 = 0.8;
/// Inches above a map, for its title.
const TOP: f64 = 0.62;
/// Inches below it.
const BOTTOM: f64 = 0.52;
/// Distance of a colour bar from its map, and its width.
const BAR: (f64, f64) = (0.1, 0.14);
/// Height of text, inches.
const TEXT: f64 = 0.15;

/// What a map shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// The data.
    Data,
    /// The fit, or whatever the residuals are taken from.
    Fit(&'static str),
    /// Data less fit.
    Residual(&'static str),
}

impl Shown {
    fn title(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Fit(name) | Self::Residual(name) => name,
        }
    }

    fn colors(self, colors: &Colors) -> (Palette, f64, f64) {
        match self {
            Self::Data | Self::Fit(_) => (Palette::C2, colors.low, colors.high),
            Self::Residual(_) => (Palette::Residual, -colors.residual, colors.residual),
        }
    }

    /// Value of a cell; NaN where it has none.
    fn value(self, cells: &Cells, i: usize, j: usize) -> f64 {
        cells.mean(i, j).map_or(f64::NAN, |mean| match self {
            Self::Data => mean.data,
            Self::Fit(_) => mean.data - mean.residual,
            Self::Residual(_) => mean.residual,
        })
    }
}

/// One picture.
pub struct Picture<'a> {
    /// φ, degree; NaN where it isn't known.
    pub phi: f64,
    /// Said above it.
    pub title: String,
    /// Block averages.
    pub cells: &'a Cells,
    /// Times of the first and last frame that the cells cover.
    pub times: (f64, f64),
    /// Their unit.
    pub unit: &'static str,
    /// Colours.
    pub colors: Colors,
}

/// Names of pictures by φ, different from one another; by number where φ isn't known.
pub fn names(phi: &[f64], format: PictureFormat) -> Vec<String> {
    let with = |decimals: usize| phi.iter().map(|phi| format!("phi_{phi:.decimals$}deg")).collect::<Vec<_>>();
    let differ = |names: &[String]| names.iter().collect::<HashSet<_>>().len() == names.len();
    let found = (1..=4).map(with).find(|names| differ(names));
    let mut names = found.unwrap_or_else(|| with(1).iter().zip(1..).map(|(name, k)| format!("{name}_{k}")).collect());
    for (k, (name, _)) in names.iter_mut().zip(phi).enumerate().filter(|(_, (_, phi))| phi.is_nan()) {
        *name = format!("matrix_{}", k + 1);
    }
    names.iter().map(|name| format!("c2_heatmaps_{name}.{}", format.name())).collect()
}

/// Memory that drawing takes with so many threads, bytes.
pub fn memory(n_maps: usize, plot: &PlotConfig, threads: usize) -> f64 {
    let dpi = f64::from(plot.dpi);
    let dots = n_maps as f64 * (LEFT + SIDE + RIGHT) * (TOP + SIDE + BOTTOM) * dpi * dpi;
    // three colours, of the picture, its parts and its file
    3.0 * 3.0 * dots * threads as f64
}

/// Draws pictures into a folder by all threads of the rayon pool in which it is called; returns their paths.
///
/// # Errors
/// [`Error::Io`] where one can't be written.
pub fn write(pictures: &[Picture], shown: &[Shown], plot: &PlotConfig, folder: &Path) -> Result<Vec<PathBuf>> {
    write_each(pictures, shown, plot, folder).into_iter().collect()
}

/// The same, with what became of each: one that fails costs none of the others.
pub(super) fn write_each(
    pictures: &[Picture],
    shown: &[Shown],
    plot: &PlotConfig,
    folder: &Path,
) -> Vec<Result<PathBuf>> {
    let phi: Vec<f64> = pictures.iter().map(|picture| picture.phi).collect();
    let jobs: Vec<(&Picture, PathBuf)> =
        pictures.iter().zip(names(&phi, plot.format)).map(|(picture, name)| (picture, folder.join(name))).collect();
    jobs.into_par_iter()
        .map(|(picture, path)| {
            drawn(&path, || {
                let sheet = Sheet { picture, shown, dpi: f64::from(plot.dpi) };
                let bytes = match plot.format {
                    PictureFormat::Png => sheet.png(),
                    PictureFormat::Svg => sheet.svg(),
                };
                let bytes = bytes.map_err(|message| Error::io("draw", &path, message))?;
                files::write(&path, bytes)?;
                Ok(path.clone())
            })
        })
        .collect()
}

/// The font of text in dots; in shapes the viewer has its own.
fn fonts() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for style in [FontStyle::Normal, FontStyle::Bold] {
            // a second font of that name would be refused: there is none
            let _ = register_font("sans-serif", style, epaint_default_fonts::UBUNTU_LIGHT);
        }
    });
}

/// What keeps a picture from being drawn.
type Drawn<T = ()> = std::result::Result<T, String>;

/// A picture in dots.
struct Sheet<'a> {
    picture: &'a Picture<'a>,
    shown: &'a [Shown],
    dpi: f64,
}

/// A painted part: where its left upper corner is, its width and height, and its colours row by row.
struct Patch {
    at: (i32, i32),
    size: (u32, u32),
    rgb: Vec<u8>,
}

impl Sheet<'_> {
    /// Dots of so many inches.
    fn dots(&self, inches: f64) -> i32 {
        (inches * self.dpi).round() as i32
    }

    fn size(&self) -> (u32, u32) {
        let width = self.dots(LEFT + SIDE + RIGHT) * self.shown.len() as i32;
        (width as u32, self.dots(TOP + SIDE + BOTTOM) as u32)
    }

    /// Left upper corner of a map.
    fn corner(&self, panel: usize) -> (i32, i32) {
        (self.dots(LEFT + SIDE + RIGHT) * panel as i32 + self.dots(LEFT), self.dots(TOP))
    }

    /// Maps and colour bars.
    fn patches(&self) -> Vec<Patch> {
        let (cells, side) = (self.picture.cells, self.dots(SIDE) as usize);
        let mut patches = Vec::new();
        for (panel, &shown) in self.shown.iter().enumerate() {
            let (palette, low, high) = shown.colors(&self.picture.colors);
            let n = cells.side();
            let colors: Vec<[u8; 3]> =
                (0..n * n).map(|k| palette.color(shown.value(cells, k / n, k % n), low, high)).collect();
            let (x, y) = self.corner(panel);
            let mut rgb = Vec::with_capacity(3 * side * side);
            for row in (0..side).rev() {
                for column in 0..side {
                    rgb.extend(colors[row * n / side * n + column * n / side]);
                }
            }
            patches.push(Patch { at: (x, y), size: (side as u32, side as u32), rgb });
            let width = self.dots(BAR.1).max(1) as usize;
            let shade = |row: usize| palette.color((side - 1 - row) as f64, 0.0, side as f64 - 1.0);
            let rgb = (0..side).flat_map(|row| std::iter::repeat_n(shade(row), width).flatten()).collect();
            let at = (x + side as i32 + self.dots(BAR.0), y);
            patches.push(Patch { at, size: (width as u32, side as u32), rgb });
        }
        patches
    }

    fn png(&self) -> Drawn<Vec<u8>> {
        fonts();
        let (width, height) = self.size();
        let mut rgb = vec![255; 3 * width as usize * height as usize];
        for Patch { at, size, rgb: patch } in self.patches() {
            for (row, line) in patch.chunks_exact(3 * size.0 as usize).enumerate() {
                let start = 3 * ((at.1 as usize + row) * width as usize + at.0 as usize);
                rgb[start..start + line.len()].copy_from_slice(line);
            }
        }
        self.draw(&BitMapBackend::with_buffer(&mut rgb, (width, height)).into_drawing_area())?;
        encode(&rgb, (width, height), self.dpi)
    }

    fn svg(&self) -> Drawn<Vec<u8>> {
        let (width, height) = self.size();
        let mut text = String::new();
        self.draw(&SVGBackend::with_string(&mut text, (width, height)).into_drawing_area())?;
        // what is painted lies below what is drawn: right behind the opening tag
        let inside = text.find("<svg").and_then(|at| text[at..].find('>').map(|end| at + end + 1));
        let inside = inside.ok_or("no picture came out")?;
        let mut painted = format!("\n<rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n");
        for Patch { at: (x, y), size: (w, h), rgb } in self.patches() {
            let data = BASE64_STANDARD.encode(encode(&rgb, (w, h), self.dpi)?);
            painted += &format!(
                "<image x=\"{x}\" y=\"{y}\" width=\"{w}\" height=\"{h}\" href=\"data:image/png;base64,{data}\"/>\n"
            );
        }
        text.insert_str(inside, &painted);
        Ok(text.into_bytes())
    }

    /// Axes, colour bars and text.
    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Drawn {
        let height = self.dots(TEXT);
        let plain = ("sans-serif", height).into_font().color(&BLACK);
        let title = ("sans-serif", f64::from(height) * 1.2).into_font().color(&BLACK);
        let above = self.dots(TOP / 2.0) - height;
        let text = |text: &str, at: (i32, i32), style: &TextStyle, anchor: (HPos, VPos)| {
            area.draw_text(text, &style.pos(Pos::new(anchor.0, anchor.1)), at).map_err(|e| e.to_string())
        };
        text(&self.picture.title, (self.dots(LEFT), above), &title, (HPos::Left, VPos::Center))?;
        let side = self.dots(SIDE);
        let tick = self.dots(0.05);
        let (first, last) = self.picture.times;
        for (panel, &shown) in self.shown.iter().enumerate() {
            let (x, y) = self.corner(panel);
            text(shown.title(), (x + side / 2, y - tick), &plain, (HPos::Center, VPos::Bottom))?;
            frame(area, (x, y), (side, side))?;
            let ticks = ticks(first, last);
            for &t in &ticks {
                let along = ((t - first) / (last - first) * f64::from(side)).round() as i32;
                let label = label(t, &ticks);
                line(area, (x + along, y + side), (x + along, y + side + tick))?;
                text(&label, (x + along, y + side + 2 * tick), &plain, (HPos::Center, VPos::Top))?;
                line(area, (x, y + side - along), (x - tick, y + side - along))?;
                text(&label, (x - 2 * tick, y + side - along), &plain, (HPos::Right, VPos::Center))?;
            }
            let below = y + side + self.dots(BOTTOM) - tick;
            text(&format!("t₁ ({})", self.picture.unit), (x + side / 2, below), &plain, (HPos::Center, VPos::Bottom))?;
            let turned = plain.transform(FontTransform::Rotate270);
            text(
                &format!("t₂ ({})", self.picture.unit),
                (x - self.dots(LEFT) + tick, y + side / 2),
                &turned,
                (HPos::Center, VPos::Top),
            )?;
            let (_, low, high) = shown.colors(&self.picture.colors);
            let (bar, width) = (x + side + self.dots(BAR.0), self.dots(BAR.1));
            frame(area, (bar, y), (width, side))?;
            let ticks = self::ticks(low, high);
            for &value in &ticks {
                let up = ((value - low) / (high - low) * f64::from(side)).round() as i32;
                let right = bar + width;
                line(area, (right, y + side - up), (right + tick, y + side - up))?;
                text(&label(value, &ticks), (right + 2 * tick, y + side - up), &plain, (HPos::Left, VPos::Center))?;
            }
        }
        area.present().map_err(|e| e.to_string())
    }
}

fn line<B: DrawingBackend>(area: &DrawingArea<B, Shift>, from: (i32, i32), to: (i32, i32)) -> Drawn {
    area.draw(&PathElement::new(vec![from, to], BLACK)).map_err(|e| e.to_string())
}

fn frame<B: DrawingBackend>(area: &DrawingArea<B, Shift>, (x, y): (i32, i32), (w, h): (i32, i32)) -> Drawn {
    area.draw(&Rectangle::new([(x, y), (x + w, y + h)], BLACK)).map_err(|e| e.to_string())
}

/// Round numbers from `low` to `high`, some five of them.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let rough = (high - low) / 5.0;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|step| *step >= rough * 0.75);
    let step = step.unwrap_or(rough);
    let first = (low / step - 1e-9).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    (first..=last).map(|k| k as f64 * step).collect()
}

/// A tick with as many digits as tell it from its neighbours.
fn label(value: f64, ticks: &[f64]) -> String {
    let step = if ticks.len() > 1 { ticks[1] - ticks[0] } else { value.abs().max(f64::MIN_POSITIVE) };
    let decimals = (-step.log10().floor()).max(0.0) as usize;
    let largest = ticks.iter().fold(0.0, |most: f64, t| most.max(t.abs()));
    if decimals > 5 || largest >= 1e6 {
        let digits = (largest.log10().floor() - step.log10().floor()).max(0.0) as usize;
        return if value == 0.0 { "0".into() } else { format!("{value:.digits$e}") };
    }
    format!("{value:.decimals$}")
}

/// A picture in dots as a PNG file.
fn encode(rgb: &[u8], (width, height): (u32, u32), dpi: f64) -> Drawn<Vec<u8>> {
    const INCHES_PER_METER: f64 = 39.37;
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    // blocks of one colour pack well whatever the effort
    encoder.set_compression(png::Compression::Fast);
    let per_meter = (dpi * INCHES_PER_METER).round() as u32;
    encoder.set_pixel_dims(Some(png::PixelDimensions { xppu: per_meter, yppu: per_meter, unit: png::Unit::Meter }));
    let mut writer = encoder.write_header().map_err(|e| e.to_string())?;
    writer.write_image_data(rgb).map_err(|e| e.to_string())?;
    writer.finish().map_err(|e| e.to_string())?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_angles_apart() {
        let of = |phi: &[f64]| names(phi, PictureFormat::Png).join(" ").replace("c2_heatmaps_", "").replace("phi_", "");
        assert_eq!(of(&[-20.0, 35.27]), "-20.0deg.png 35.3deg.png");
        assert_eq!(of(&[1.01, 1.02]), "1.01deg.png 1.02deg.png");
        assert_eq!(of(&[1.0, 1.0]), "1.0deg_1.png 1.0deg_2.png");
        assert_eq!(of(&[f64::NAN, f64::NAN]), "matrix_1.png matrix_2.png");
    }

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(ticks(0.0, 10.0), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(
            ticks(1.0, 1.31).iter().map(|t| label(*t, &ticks(1.0, 1.31))).collect::<Vec<_>>(),
            ["1.00", "1.05", "1.10", "1.15", "1.20", "1.25", "1.30"]
        );
        assert_eq!(label(-2e-7, &[-2e-7, 0.0, 2e-7]), "-2e-7");
        for (low, high) in [(0.1, 299.9), (-0.003, 0.003), (1e-9, 7e-9), (1e5, 9e8)] {
            let ticks = ticks(low, high);
            assert!((3..=11).contains(&ticks.len()), "{ticks:?}");
            assert!(ticks.iter().all(|t| *t >= low - 1e-9 * (high - low) && *t <= high + 1e-9 * (high - low)));
            let labels: std::collections::BTreeSet<String> = ticks.iter().map(|t| label(*t, &ticks)).collect();
            assert_eq!(labels.len(), ticks.len(), "{labels:?}");
        }
    }

    #[test]
    fn a_picture_shows_its_values() {
        let mut cells = Cells::new(2, 2);
        cells.add_row(0, 1..2, &[1.5], |_| 1.4);
        let colors = Colors { low: 1.0, high: 1.5, residual: 0.1 };
        let picture =
            Picture { phi: 0.0, title: "φ = 0°".into(), cells: &cells, times: (0.1, 0.3), unit: "s", colors };
        let shown = [Shown::Data, Shown::Fit("fit"), Shown::Residual("residual")];
        let sheet = Sheet { picture: &picture, shown: &shown, dpi: 100.0 };
        let png = sheet.png().unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(&png)).read_info().unwrap();
        let mut rgb = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut rgb).unwrap();
        let (width, _) = sheet.size();
        // upper left and lower right quarters of a map hold the pair, the others nothing
        let dot = |panel: usize, right: f64, down: f64| {
            let (x, y) = sheet.corner(panel);
            let at =
                3 * ((y + sheet.dots(SIDE * down)) as usize * width as usize + (x + sheet.dots(SIDE * right)) as usize);
            [rgb[at], rgb[at + 1], rgb[at + 2]]
        };
        assert_eq!(dot(0, 0.25, 0.25), Palette::C2.color(1.5, 1.0, 1.5));
        assert_eq!(dot(0, 0.75, 0.75), Palette::C2.color(1.5, 1.0, 1.5));
        assert_eq!(dot(1, 0.25, 0.25), Palette::C2.color(1.4, 1.0, 1.5));
        assert_eq!(dot(2, 0.25, 0.25), Palette::Residual.color(0.1, -0.1, 0.1));
        assert_eq!(dot(0, 0.25, 0.75), MISSING);
        let svg = String::from_utf8(sheet.svg().unwrap()).unwrap();
        assert_eq!(svg.matches("<image ").count(), 6);
        assert!(svg.contains("φ = 0°") && svg.contains("residual"));
    }
}
