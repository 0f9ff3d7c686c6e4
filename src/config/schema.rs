//! What a key must hold and whether it means anything here; the keys themselves are in [`super::keys`].

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::keys::{GROUPS, OTHER_NAMES};
use super::node::Node;

/// What a value must be. `null` always stands for the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `true` or `false` (`yes`, `no`, `on`, `off` too, which PyYAML reads as such).
    Flag,
    /// A whole number; `5000.0` and `5e3` are accepted.
    Whole,
    /// A number.
    Number,
    /// Text.
    Text,
    /// A list.
    List,
    /// Several kinds are possible; whoever reads the value decides.
    Any,
}

impl Kind {
    /// The kind in words, for "must be …".
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Flag => "`true` or `false`",
            Self::Whole => "a whole number",
            Self::Number => "a number",
            Self::Text => "text",
            Self::List => "a list",
            Self::Any => "a value",
        }
    }

    /// Whether the value is of this kind.
    pub(super) fn fits(self, node: &Node) -> bool {
        match self {
            Self::Flag => node.as_flag().is_some(),
            Self::Whole => node.as_whole().is_some(),
            Self::Number => node.as_number().is_some(),
            Self::Text => node.as_text().is_some(),
            Self::List => node.as_list().is_some() || node.is_empty_section(),
            Self::Any => true,
        }
    }
}

/// What becomes of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// Read; its value must be of the kind.
    Used(Kind),
    /// Accepted with any value and without effect, for the reason.
    Idle(&'static str),
    /// Another name of the key.
    Other(&'static str),
    /// A section; whether anything inside it is read.
    Section {
        /// Whether any key inside is read.
        used: bool,
    },
}

static TABLE: LazyLock<BTreeMap<String, Known>> = LazyLock::new(|| {
    let join = |prefix: &str, key: &str| if prefix.is_empty() { key.to_string() } else { format!("{prefix}.{key}") };
    let others = OTHER_NAMES.iter().map(|&(path, key)| (path.to_string(), Known::Other(key)));
    GROUPS
        .iter()
        .flat_map(|g| g.keys.split_whitespace().map(move |k| (join(g.prefix, k), g.known)))
        .chain(others)
        .collect()
});

static SECTIONS: LazyLock<BTreeMap<String, bool>> = LazyLock::new(|| {
    let mut sections = BTreeMap::new();
    for (path, known) in TABLE.iter() {
        for (dot, _) in path.match_indices('.') {
            *sections.entry(path[..dot].to_string()).or_insert(false) |=
                matches!(known, Known::Used(_) | Known::Other(_));
        }
    }
    sections
});

/// All keys and sections by the names of this program, in small letters, with their paths, in order.
static PATHS: LazyLock<Vec<(String, &'static str)>> = LazyLock::new(|| {
    let ours = TABLE.iter().filter(|(_, known)| !matches!(known, Known::Other(_))).map(|(path, _)| path);
    let mut paths: Vec<_> = ours.chain(SECTIONS.keys()).map(|p| (p.to_lowercase(), p.as_str())).collect();
    paths.sort_by_key(|&(_, path)| path);
    paths
});

/// What the schema says about a dotted path; `None` = no such key.
pub(super) fn find(path: &str) -> Option<Known> {
    let section = || SECTIONS.get(path).map(|&used| Known::Section { used });
    TABLE.get(path).copied().or_else(section)
}

/// All keys with what becomes of them, by path.
#[cfg(test)]
pub(super) fn keys() -> impl Iterator<Item = (&'static str, Known)> {
    TABLE.iter().map(|(path, &known)| (path.as_str(), known))
}

/// The known path that a user most likely meant.
///
/// A key that is right but stands in the wrong section counts as near as a key that is slightly misspelt in the right
/// one; beyond that, nothing is better than a wild guess.
pub(super) fn nearest(path: &str) -> Option<&'static str> {
    const NEAR: f64 = 0.65;
    /// Weight of the last name; the whole path has the rest.
    const LAST: f64 = 0.6;
    let path = path.to_lowercase();
    let last = last_name(&path);
    PATHS
        .iter()
        .filter_map(|(lower, candidate)| {
            // most paths are out of question by their last name, a matter of few letters
            let end = likeness(last, last_name(lower), (NEAR - (1.0 - LAST)) / LAST)?;
            let score = if end == 1.0 {
                0.7 + 0.3 * likeness(&path, lower, 0.0)?
            } else {
                LAST * end + (1.0 - LAST) * likeness(&path, lower, (NEAR - LAST * end) / (1.0 - LAST))?
            };
            Some((score, *candidate))
        })
        .filter(|&(score, _)| score >= NEAR)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

fn last_name(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// How alike two words are, from 0 to 1; `None` where that is less than `least`. Words of too different a length aren't
/// compared, which would take as many steps as the product of their lengths.
fn likeness(a: &str, b: &str, least: f64) -> Option<f64> {
    let (a_len, b_len) = (a.chars().count(), b.chars().count());
    let most = 1.0 - a_len.abs_diff(b_len) as f64 / a_len.max(b_len).max(1) as f64;
    let alike = || strsim::normalized_damerau_levenshtein(a, b);
    // a hair less, as the sums that lead here are rounded
    let least = least - 1e-9;
    (most >= least).then(alike).filter(|&alike| alike >= least)
}

/// The word that a user most likely meant.
pub(super) fn nearest_of<'a>(word: &str, words: &[&'a str]) -> Option<&'a str> {
    // Half of the letters: `D1` is near `D0`.
    const NEAR: f64 = 0.5;
    let word = word.to_lowercase();
    words
        .iter()
        .filter_map(|&w| Some((likeness(&word, &w.to_lowercase(), NEAR)?, w)))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, w)| w)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_is_listed_twice_or_inside_another() {
        let listed = GROUPS.iter().map(|g| g.keys.split_whitespace().count()).sum::<usize>();
        assert_eq!(listed + OTHER_NAMES.len(), TABLE.len());
        assert!(OTHER_NAMES.iter().all(|(_, key)| matches!(find(key), Some(Known::Used(_)))));
        for section in SECTIONS.keys() {
            assert!(!TABLE.contains_key(section), "{section} is both a key and a section");
        }
    }

    #[test]
    fn paths_are_told_apart() {
        assert_eq!(find("analyzer_parameters.dt"), Some(Known::Used(Kind::Number)));
        assert!(matches!(find("optimization.cmc.backend"), Some(Known::Idle(_))));
        assert_eq!(find("optimization.nlsq"), Some(Known::Section { used: true }));
        assert_eq!(find("plotting.matplotlib"), Some(Known::Section { used: false }));
        assert_eq!(find("analyzer_parameters.dtt"), None);
    }

    #[test]
    fn the_nearest_key_is_what_was_meant() {
        for (typed, meant) in [
            ("analysis_mod", "analysis_mode"),
            ("analyser_parameters", "analyzer_parameters"),
            ("analyzer_parameters.Dt", "analyzer_parameters.dt"),
            ("analyzer_parameters.strat_frame", "analyzer_parameters.start_frame"),
            ("dt", "analyzer_parameters.dt"),
            ("analyzer_parameters.wavevector_q", "analyzer_parameters.scattering.wavevector_q"),
            ("optimization.max_iterations", "optimization.nlsq.max_iterations"),
            ("optimization.nlsq.multistar", "optimization.nlsq.multi_start"),
            ("output.formats.jsn", "output.formats.json"),
        ] {
            assert_eq!(nearest(typed), Some(meant), "{typed}");
        }
        assert_eq!(nearest("zzz.qqqqqq"), None);
    }
}
