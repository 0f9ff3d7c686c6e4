//! Units as the attributes of files spell them.

use std::f64::consts::PI;

/// By what q in a unit is divided to be in Å⁻¹; `None` for a unit that isn't one of inverse length.
pub(super) fn inverse_length(unit: &str) -> Option<f64> {
    let plain = plain(unit).replace("⁻¹", "-1").replace(['^', '{', '}', '(', ')', '_', '$', '*'], "");
    let stem = plain.strip_prefix("1/").or_else(|| plain.strip_suffix("-1"))?;
    match stem {
        "a" | "å" | "ang" | "angstrom" | "angstroms" | "ångström" | "ångstrom" => Some(1.0),
        "nm" | "nanometer" | "nanometers" | "nanometre" => Some(10.0),
        "m" | "meter" | "meters" | "metre" => Some(1e10),
        _ => None,
    }
}

/// How many seconds a unit of time has.
pub(super) fn time(unit: &str) -> Option<f64> {
    match plain(unit).as_str() {
        "s" | "sec" | "second" | "seconds" => Some(1.0),
        "ms" | "millisecond" | "milliseconds" => Some(1e-3),
        "us" | "µs" | "μs" | "microsecond" | "microseconds" => Some(1e-6),
        "ns" | "nanosecond" | "nanoseconds" => Some(1e-9),
        _ => None,
    }
}

/// How many degrees a unit of angle has.
pub(super) fn angle(unit: &str) -> Option<f64> {
    match plain(unit).as_str() {
        "deg" | "degree" | "degrees" | "°" => Some(1.0),
        "rad" | "radian" | "radians" => Some(180.0 / PI),
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
        for unit in ["1/angstrom", "Å⁻¹", "1/Å", "1/\u{212b}", "A^-1", "$Å^{-1}$", "angstrom^-1", " 1/A "] {
            assert_eq!(inverse_length(unit), Some(1.0), "{unit}");
        }
        for unit in ["nm^-1", "1/nm", "nm⁻¹", "(nm^{-1})"] {
            assert_eq!(inverse_length(unit), Some(10.0), "{unit}");
        }
        assert_eq!(inverse_length("1/m"), Some(1e10));
        for unit in ["angstrom", "nm", "m", "1/s", "", "au"] {
            assert_eq!(inverse_length(unit), None, "{unit}");
        }
        assert_eq!((time("s"), time("ms"), time("µs"), time("Hz")), (Some(1.0), Some(1e-3), Some(1e-6), None));
        assert_eq!((angle("degrees"), angle("rad"), angle("1/Å")), (Some(1.0), Some(180.0 / PI), None));
    }
}
