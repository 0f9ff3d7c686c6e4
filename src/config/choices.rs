//! Keys that hold one word out of a few, and the words whose time hasn't come.

use super::document::{Document, Spot};
use crate::Result;

struct Choice {
    path: &'static str,
    /// Words that work, as `old/new` where several spellings mean the same; the last one is what readers get.
    ready: &'static [&'static str],
    /// Words with a meaning that this version doesn't have yet.
    later: &'static [&'static str],
    /// What to do instead of a later one.
    remedy: &'static str,
}

const CHOICES: &[Choice] = &[
    Choice {
        path: "analysis_mode",
        ready: &["static", "static_isotropic", "static_anisotropic", "laminar_flow"],
        later: &[],
        remedy: "",
    },
    Choice { path: "analyzer_parameters.time_origin", ready: &["selection", "acquisition"], later: &[], remedy: "" },
    Choice { path: "model.shear_convention", ready: &["homodyne", "theory"], later: &[], remedy: "" },
    Choice {
        path: "logging.level",
        ready: &["off", "critical/error", "warn/warning", "info", "debug", "trace"],
        later: &[],
        remedy: "",
    },
    Choice {
        path: "experimental_data.file_format",
        ready: &[
            "hdf5/auto",
            "aps_u",
            "aps_8idi/aps_8id_i/aps_old",
            "matlab/aps_matlab",
            "nexus/nxxpcs",
            "nsls_ii/chx",
            "esrf/id02/esrf_id02",
            "midtools/euxfel",
            "native",
            "npz",
        ],
        later: &[],
        remedy: "",
    },
    Choice {
        path: "optimization.method",
        ready: &["nlsq"],
        later: &["nuts", "mcmc", "cmc", "both"],
        remedy: "set `method: nlsq`",
    },
    Choice { path: "optimization.nlsq.loss", ready: &["linear", "soft_l1", "huber", "cauchy"], later: &[], remedy: "" },
    Choice {
        path: "optimization.nlsq.anti_degeneracy.per_angle_mode",
        ready: &["auto", "averaged", "individual", "constant", "fourier"],
        later: &[],
        remedy: "",
    },
    Choice {
        path: "performance.strategy_override",
        ready: &["auto", "standard", "large", "chunked", "streaming"],
        later: &[],
        remedy: "",
    },
    Choice { path: "device.kind", ready: &["auto", "cpu", "cuda"], later: &[], remedy: "" },
    Choice { path: "device.precision", ready: &["f64", "mixed"], later: &[], remedy: "" },
    // the Python package writes PDF, too: shapes and text are the nearest to it
    Choice { path: "plotting.format", ready: &["png", "pdf/svg"], later: &[], remedy: "" },
    Choice {
        path: "plotting.color_scale.mode",
        ready: &["legacy", "percentile/adaptive", "fixed"],
        later: &[],
        remedy: "",
    },
    Choice { path: "distributed.io", ready: &["root", "parallel"], later: &[], remedy: "" },
];

/// Words that a key may hold in this version, the usual spelling of each; `None` for keys that hold something else.
pub(super) fn words(path: &str) -> Option<Vec<&'static str>> {
    let choice = CHOICES.iter().find(|choice| choice.path == path)?;
    Some(choice.ready.iter().filter_map(|ready| ready.rsplit('/').next()).collect())
}

impl Document {
    /// The word at a path of the table above, in any case, `-` as good as `_`; `None` where it is left to the default.
    pub(super) fn choice(&self, path: &str) -> Result<Option<&'static str>> {
        let choice = CHOICES.iter().find(|c| c.path == path);
        debug_assert!(choice.is_some(), "{path} isn't in the table");
        let (Some(choice), Some(Spot { value, place })) = (choice, self.text(path)?) else { return Ok(None) };
        let word = value.trim().to_lowercase().replace('-', "_");
        if let Some(ready) = choice.ready.iter().find(|r| r.split('/').any(|spelling| spelling == word)) {
            return Ok(ready.rsplit('/').next());
        }
        let key = path.rsplit('.').next().unwrap_or(path);
        if choice.later.contains(&word.as_str()) {
            return Err(self.later(place, format!("`{key}: {value}`"), choice.remedy));
        }
        let words: Vec<&'static str> = choice.ready.iter().flat_map(|r| r.split('/')).collect();
        Err(self.no_such(path, value, place, &words))
    }

    /// Refuses what this version would have to ignore although it changes the result.
    pub(super) fn refuse_unavailable(&self) -> Result<()> {
        for choice in CHOICES {
            self.choice(choice.path)?;
        }
        Ok(())
    }
}
