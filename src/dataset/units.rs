//! Units as the attributes of files spell them.

use std::f64::consts::PI;

/// What a number of a file measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quantity {
    /// q, in Å⁻¹ here.
    Wavevector,
    /// φ, in degree here.
    Angle,
    /// Times and lags, in s here.
    Time,
}

impl Quantity {
    /// By what numbers in a unit are divided to be in the unit used here; `None` for a unit of something else.
    pub fn divisor(self, unit: &str) -> Option<f64> {
        match self {
            Self::Wavevector => inverse_length(unit),
            Self::Angle => angle(unit),
            Self::Time => time(unit),
        }
    }

    /// What may stand where a unit isn't known.
    pub fn expected(self) -> &'static str {
        match self {
            Self::Wavevector => "a unit of q such as 1/angstrom or 1/nm",
            Self::Angle => "a unit of angle such as degree or rad",
            Self::Time => "a unit of time such as s or ms",
        }
    }

    /// The unit used here.
    pub fn own(self) -> &'static str {
        match self {
            Self::Wavevector => "Å⁻¹",
            Self::Angle => "degree",
            Self::Time => "s",
        }
    }
}

fn inverse_length(unit: &str) -> Option<f64> {
    let plain = plain(unit)
        .replace("⁻¹", "-1")
        .replace('\u{2212}', "-")
        .replace(['^', '{', '}', '(', ')', '[', ']', '_', '$', '*', '\\'], "");
    let stem = ["1/", "/", "per", "inverse", "inv", "reciprocal"].iter().find_map(|before| plain.strip_prefix(before));
    let stem = stem.or_else(|| plain.strip_suffix("-1"))?;
    match stem {
        "a" | "å" | "ang" | "angstrom" | "angstroms" | "ångström" | "ångstrom" | "angström" | "aa" => Some(1.0),
        "pm" | "picometer" | "picometers" | "picometre" => Some(1e-2),
        "nm" | "nanometer" | "nanometers" | "nanometre" | "nanometres" => Some(1e1),
        "um" | "µm" | "μm" | "micrometer" | "micrometers" | "micrometre" | "micron" => Some(1e4),
        "mm" | "millimeter" | "millimeters" | "millimetre" => Some(1e7),
        "cm" | "centimeter" | "centimeters" | "centimetre" => Some(1e8),
        "m" | "meter" | "meters" | "metre" | "metres" => Some(1e10),
        _ => None,
    }
}

fn time(unit: &str) -> Option<f64> {
    match plain(unit).trim_end_matches('.') {
        "s" | "sec" | "secs" | "second" | "seconds" => Some(1.0),
        "ms" | "msec" | "millisecond" | "milliseconds" => Some(1e3),
        "us" | "µs" | "μs" | "usec" | "microsecond" | "microseconds" => Some(1e6),
        "ns" | "nsec" | "nanosecond" | "nanoseconds" => Some(1e9),
        "min" | "minute" | "minutes" => Some(1.0 / 60.0),
        "h" | "hour" | "hours" => Some(1.0 / 3600.0),
        _ => None,
    }
}

fn angle(unit: &str) -> Option<f64> {
    match plain(unit).trim_end_matches('.') {
        "deg" | "degs" | "degree" | "degrees" | "°" => Some(1.0),
        "rad" | "rads" | "radian" | "radians" => Some(PI / 180.0),
        "mrad" | "milliradian" | "milliradians" => Some(PI / 0.18),
        _ => None,
    }
}

fn plain(unit: &str) -> String {
    unit.trim_matches(|c: char| c == '\0' || c.is_whitespace()).to_lowercase().replace(' ', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_are_known() {
        let (q, phi, t) = (Quantity::Wavevector, Quantity::Angle, Quantity::Time);
        for unit in [
            "1/angstrom",
            "Å⁻¹",
            "1/Å",
            "1/\u{212b}",
            "A^-1",
            "$Å^{-1}$",
            "angstrom^-1",
            " 1/A ",
            "Å^{-1}",
            "A**-1",
            "inverse angstroms",
            "/Å",
            "[1/Å]",
            r"\AA^{-1}",
        ] {
            assert_eq!(q.divisor(unit), Some(1.0), "{unit}");
        }
        for unit in ["nm^-1", "1/nm", "nm⁻¹", "(nm^{-1})", "nm-1", "per nm", "1/NM", "inv nm", "nm\u{2212}1"] {
            assert_eq!(q.divisor(unit), Some(10.0), "{unit}");
        }
        assert_eq!((q.divisor("1/m"), q.divisor("1/µm")), (Some(1e10), Some(1e4)));
        for unit in ["angstrom", "nm", "m", "1/s", "", "au", "-1", "1/"] {
            assert_eq!(q.divisor(unit), None, "{unit}");
        }
        assert_eq!(
            (t.divisor("s"), t.divisor("ms"), t.divisor("µs"), t.divisor("Hz")),
            (Some(1.0), Some(1e3), Some(1e6), None)
        );
        assert_eq!((t.divisor("nsec"), t.divisor("Sec.")), (Some(1e9), Some(1.0)));
        assert_eq!(
            (phi.divisor("degrees"), phi.divisor("rad"), phi.divisor("1/Å")),
            (Some(1.0), Some(PI / 180.0), None)
        );
    }
}
