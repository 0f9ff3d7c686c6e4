//! Small pictures as SVG, drawn here, so that they need no scripts.

use std::fmt::Write;

use maud::{Markup, PreEscaped, html};

/// Colours of chains, told apart by people who see fewer of them (Okabe and Ito).
pub(super) const COLOURS: [&str; 7] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#5b6773"];
/// Size of a picture, in its own units.
pub(super) const WIDTH: f64 = 320.0;
pub(super) const HEIGHT: f64 = 120.0;

/// Positions from 0 to 1 of values between two others.
pub(super) fn share(value: f64, (low, high): (f64, f64)) -> f64 {
    if high > low { ((value - low) / (high - low)).clamp(0.0, 1.0) } else { 0.5 }
}

pub(super) fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.filter(|v| v.is_finite()).fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)))
}

/// A line through points from 0 to 1, the second upwards.
pub(super) fn line(points: impl Iterator<Item = (f64, f64)>, colour: &str, (width, height): (f64, f64)) -> String {
    let mut path = String::new();
    for (k, (x, y)) in points.enumerate() {
        let _ = write!(path, "{}{:.1} {:.1}", if k == 0 { "M" } else { "L" }, width * x, height * (1.0 - y));
    }
    format!("<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1\" stroke-opacity=\"0.75\"/>")
}

pub(super) fn picture(title: &str, (width, height): (f64, f64), inside: &str) -> Markup {
    html! {
        div.drawn {
            h3 { (title) }
            (PreEscaped(format!(
                "<svg viewBox=\"-1 -1 {} {}\" role=\"img\"><rect width=\"{width}\" height=\"{height}\" fill=\"none\" stroke=\"#d9dee3\"/>{inside}</svg>",
                width + 2.0,
                height + 2.0
            )))
        }
    }
}

pub(super) fn colour(chain: usize) -> &'static str {
    COLOURS[chain % COLOURS.len()]
}

/// What lies between two lines over the same places from 0 to 1.
pub(super) fn area(places: &[f64], low: &[f64], high: &[f64], (colour, opacity): (&str, f64)) -> String {
    let mut path = String::new();
    let there = places.iter().zip(high);
    let back = places.iter().zip(low).rev();
    for (k, (x, y)) in there.chain(back).enumerate() {
        let _ = write!(path, "{}{:.1} {:.1}", if k == 0 { "M" } else { "L" }, WIDTH * x, HEIGHT * (1.0 - y));
    }
    format!("<path d=\"{path}Z\" fill=\"{colour}\" fill-opacity=\"{opacity}\"/>")
}

/// Points from 0 to 1, the second upwards.
pub(super) fn dots(
    points: impl Iterator<Item = (f64, f64)>,
    (colour, opacity): (&str, f64),
    (width, height): (f64, f64),
) -> String {
    let mut path = String::new();
    for (x, y) in points {
        let _ = write!(path, "M{:.1} {:.1}h.01", width * x, height * (1.0 - y));
    }
    format!(
        "<path d=\"{path}\" stroke=\"{colour}\" stroke-width=\"2\" stroke-linecap=\"round\" stroke-opacity=\"{opacity}\"/>"
    )
}
