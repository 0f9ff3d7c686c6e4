//! Runs that draw from the posterior, and what their draws say.

use std::path::Path;

use serde_json::Value;

use crate::common::json;

/// Asks for a few draws; the verdict may be that they are too few, which is code 4.
pub const FEW: [&str; 4] =
    ["--method", "nuts", "--set", "optimization.nuts={num_warmup: 40, num_samples: 40, num_chains: 3}"];

/// What the draws of a run say, but for times.
#[track_caller]
pub fn said(folder: &Path, output: &str) -> Value {
    let mut value = json(&folder.join(output).join("nuts/posterior_summary.json"));
    value.as_object_mut().unwrap().remove("timestamp");
    let sampler = value["sampler"].as_object_mut().unwrap();
    sampler.remove("seconds");
    sampler.remove("ess_per_second");
    value
}
