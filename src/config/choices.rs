//! Keys that hold one word out of a few.

use super::document::{Document, Spot};
use crate::Result;

struct Choice {
    path: &'static str,
    /// Words that work, as `old/new` where several spellings mean the same; the last one is what readers get.
    ready: &'static [&'static str],
}

const CHOICES: &[Choice] = &[
    Choice { path: "analysis_mode", ready: &["static", "static_isotropic", "static_anisotropic", "laminar_flow"] },
    Choice { path: "analyzer_parameters.time_origin", ready: &["selection", "acquisition"] },
    Choice { path: "analyzer_parameters.scattering.q_from", ready: &["file", "config"] },
    Choice { path: "model.shear_convention", ready: &["homodyne", "theory"] },
    Choice { path: "logging.level", ready: &["off", "critical/error", "warn/warning", "info", "debug", "trace"] },
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
    },
    Choice { path: "optimization.method", ready: &["nlsq", "mcmc/cmc/nuts", "both"] },
    Choice { path: "optimization.nuts.sigma", ready: &["auto", "sampled", "fixed"] },
    Choice { path: "optimization.nlsq.loss", ready: &["linear", "soft_l1", "huber", "cauchy"] },
    Choice {
        path: "optimization.nlsq.anti_degeneracy.per_angle_mode",
        ready: &["auto", "averaged", "individual", "constant", "fourier"],
    },
    Choice { path: "performance.strategy_override", ready: &["auto", "standard", "large", "chunked", "streaming"] },
    Choice { path: "device.kind", ready: &["auto", "cpu", "cuda"] },
    Choice { path: "device.precision", ready: &["f64", "mixed"] },
    // the Python package writes PDF, too: shapes and text are the nearest to it
    Choice { path: "plotting.format", ready: &["png", "pdf/svg"] },
    Choice { path: "plotting.color_scale.mode", ready: &["legacy", "percentile/adaptive", "fixed"] },
    Choice { path: "distributed.io", ready: &["auto", "root", "parallel"] },
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
        if path == "analysis_mode" && ["two_component", "heterodyne"].iter().any(|name| word.contains(name)) {
            return Err(self.later(place, "the two-component model", "this version fits `static` and `laminar_flow`"));
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
