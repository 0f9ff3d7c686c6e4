//! Method, chains and priors.

use super::*;
use crate::config::Method;
use crate::model::Prior;
use crate::sampler::SamplerConfig;

#[test]
fn the_section_is_read_and_the_python_packages_names_stand_in_for_it() {
    let config = load_static(
        "optimization:\n  method: both\n  nuts: {num_samples: 300, seed: 7, sigma: fixed, target_accept_prob: 0.9}\n  \
         cmc: {per_shard_mcmc: {num_samples: 1500, num_warmup: 80, num_chains: 2}}\n  mcmc: {max_tree_depth: 6, num_warmup: 9}\n",
    )
    .unwrap();
    assert_eq!(config.method, Method::Both);
    let expected = SamplerConfig {
        n_warmup: 80,
        n_draws: 300,
        n_chains: 2,
        target_accept: 0.9,
        max_tree_depth: 6,
        seed: 7,
        sample_sigma: Some(false),
    };
    assert_eq!(config.sampler, expected);
    assert_eq!(config.effective["optimization"]["nuts"]["num_warmup"], 80);
    // for a fit alone whatever the Python package's sections hold is of no concern
    let config = load_static("optimization: {cmc: {per_shard_mcmc: {num_samples: 0}}}\n").unwrap();
    assert_eq!((config.method, config.sampler), (Method::Nlsq, SamplerConfig::default()));
    for (word, method) in
        [("mcmc", Method::Nuts), ("cmc", Method::Nuts), ("nuts", Method::Nuts), ("BOTH", Method::Both)]
    {
        assert_eq!(load_static(&format!("optimization: {{method: {word}}}\n")).unwrap().method, method);
    }
}

#[test]
fn priors_are_read_where_something_is_sampled() {
    let with = |method: &str, entry: &str| {
        load_static(&format!("optimization: {{method: {method}}}\nparameter_space: {{bounds: [{entry}]}}\n"))
    };
    for (entry, prior) in [
        ("{name: D0, type: Uniform}", Prior::Uniform),
        ("{name: D0, type: log_uniform}", Prior::LogUniform),
        ("{name: D0, type: TruncatedNormal, prior_mu: 1000, prior_sigma: 500}", Prior::Normal { mean: 1e3, sd: 500.0 }),
        ("{name: D0, prior_mu: 1000, prior_sigma: 500}", Prior::Normal { mean: 1e3, sd: 500.0 }),
        ("{name: D0, type: LogNormal, prior_mu: 7, prior_sigma: 1.5}", Prior::LogNormal { mean: 7.0, sd: 1.5 }),
    ] {
        let config = with("nuts", entry).unwrap();
        assert_eq!(config.parameters.priors[0], prior, "{entry}");
        // the values in force give the same again
        let text = serde_json::to_string(&config.effective).unwrap();
        let again = load_text(&text).unwrap();
        assert_eq!(again.parameters.priors, config.parameters.priors, "{entry}");
    }
    let offset = with("nuts", "{name: offset, prior_mu: 1.0, prior_sigma: 0.01}").unwrap();
    assert_eq!(offset.parameters.offset_prior, Prior::Normal { mean: 1.0, sd: 0.01 });
    for (entry, expected) in [
        ("{name: D0, type: Cauchy}", "Cauchy"),
        ("{name: D0, type: Normal}", "needs `prior_mu` and `prior_sigma`"),
        ("{name: D0, prior_mu: 1, prior_sigma: 0}", "prior_sigma` must be greater than 0"),
        ("{name: alpha, type: LogUniform}", "needs bounds above 0"),
        ("{name: contrast, type: LogUniform, min: 0.1, max: 1}", "contrast and offset are integrated out"),
    ] {
        let text = message(with("nuts", entry), entry);
        assert!(text.contains(expected), "{entry}: {text}");
        // nobody samples: a fit of the same file goes on
        assert_eq!(with("nlsq", entry).unwrap().parameters.priors[0], Prior::Uniform);
    }
}
