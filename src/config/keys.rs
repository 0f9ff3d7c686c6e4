//! The table of all keys that a configuration file may hold.
//!
//! One group per kind or reason, keys without their prefix. Keys of the Python package that mean nothing here stand with
//! the reason, so that existing files pass without a warning and their owners can still find out what became of a
//! setting.

use super::schema::{Kind, Known};

/// Keys that share a prefix and a fate.
pub(super) struct Group {
    /// Section they stand in; empty at the top level.
    pub(super) prefix: &'static str,
    /// What becomes of them.
    pub(super) known: Known,
    /// Paths below the prefix, separated by blanks.
    pub(super) keys: &'static str,
}

const fn used(prefix: &'static str, kind: Kind, keys: &'static str) -> Group {
    Group { prefix, known: Known::Used(kind), keys }
}

const fn idle(prefix: &'static str, reason: &'static str, keys: &'static str) -> Group {
    Group { prefix, known: Known::Idle(reason), keys }
}

/// All keys.
pub(super) const GROUPS: &[Group] = &[
    used("", Kind::Text, "analysis_mode"),
    used("", Kind::Number, "q_tolerance_fraction"),
    used("analyzer_parameters", Kind::Number, "dt geometry.stator_rotor_gap scattering.wavevector_q"),
    used("analyzer_parameters", Kind::Whole, "start_frame end_frame"),
    used("analyzer_parameters", Kind::Text, "time_origin scattering.q_from"),
    used("data_filtering", Kind::Flag, "enabled"),
    used("data_filtering", Kind::List, "exclude_frames"),
    used("data_filtering", Kind::Whole, "min_lag_frames max_lag_frames"),
    used("device", Kind::Text, "kind precision"),
    used("device", Kind::Number, "memory_fraction"),
    used("distributed", Kind::Text, "io"),
    used("distributed", Kind::Number, "silence_limit"),
    used("experimental_data", Kind::Text, "file_path data_folder_path data_file_name file_format exchange_key"),
    used("experimental_data", Kind::Any, "phi_angles train"),
    used("experimental_data", Kind::Whole, "baseline_reference"),
    used("initial_parameters", Kind::Any, "values fixed_parameters"),
    used("initial_parameters", Kind::List, "parameter_names active_parameters"),
    used("initial_parameters.per_angle_scaling", Kind::List, "contrast offset"),
    used("logging", Kind::Text, "level"),
    used("model", Kind::Text, "shear_convention"),
    used("noise_estimation", Kind::Flag, "enabled"),
    used("optimization", Kind::Text, "method"),
    used("optimization.nlsq", Kind::Whole, "max_iterations"),
    used("optimization.nlsq", Kind::Number, "tolerance xtol gtol"),
    used("optimization.nlsq", Kind::Text, "loss"),
    used("optimization.nlsq.anti_degeneracy", Kind::Text, "per_angle_mode"),
    used("optimization.nlsq.anti_degeneracy", Kind::Whole, "constant_scaling_threshold fourier_order"),
    used("optimization.nlsq", Kind::Flag, "multi_start.enable cmaes.enable"),
    used("optimization.nlsq.multi_start", Kind::Whole, "n_starts seed"),
    used("optimization.streaming", Kind::Flag, "enable_checkpoints enable_fault_tolerance resume_from_checkpoint"),
    used("optimization.streaming", Kind::Text, "checkpoint_dir"),
    used("optimization.streaming", Kind::Whole, "checkpoint_frequency keep_last_checkpoints max_retries_per_batch"),
    used("optimization.streaming", Kind::Number, "min_success_rate"),
    used("optimization.nuts", Kind::Whole, "max_tree_depth num_chains num_samples num_warmup seed"),
    used("optimization.nuts", Kind::Number, "target_accept_prob"),
    used("optimization.nuts", Kind::Text, "sigma"),
    used("optimization.cmc.per_shard_mcmc", Kind::Whole, "max_tree_depth num_chains num_samples num_warmup"),
    used("optimization.cmc.per_shard_mcmc", Kind::Number, "target_accept_prob"),
    used("optimization.mcmc", Kind::Whole, "max_tree_depth num_chains num_samples num_warmup"),
    used("optimization.mcmc", Kind::Number, "target_accept_prob"),
    used("output", Kind::Text, "directory"),
    used("output", Kind::Flag, "compress_hdf5 formats.hdf5 formats.json formats.csv formats.html formats.npz"),
    used("output", Kind::Whole, "compression_level max_npz_entries keep_previous"),
    used("parameter_space", Kind::List, "bounds"),
    used("performance", Kind::Any, "computation.cpu_threads"),
    used("performance", Kind::Flag, "enable_progress fast_mode"),
    used("performance", Kind::Number, "memory_limit_gb"),
    used("performance", Kind::Text, "strategy_override"),
    used("phi_filtering", Kind::Flag, "enabled fallback_to_all_angles"),
    used("phi_filtering", Kind::List, "target_ranges"),
    used("plotting", Kind::Flag, "save_plots"),
    used("plotting", Kind::Text, "format color_scale.mode"),
    used("plotting", Kind::Whole, "dpi"),
    used("plotting.color_scale", Kind::Number, "fixed_max fixed_min percentile_max percentile_min"),
    used("simulation", Kind::Whole, "frames seed"),
    used("simulation", Kind::List, "angles"),
    used("simulation", Kind::Number, "noise"),
    used("simulation", Kind::Any, "parameters contrast offset"),
    used("validation", Kind::Flag, "strict_mode"),
    idle(
        "metadata",
        "describes the file, not the analysis",
        "analysis_mode complexity config_version description diagonal_correction generated_at generated_by \
         integration_method nlsq_cmc_physics_match parameter_count physics_model shear_model template_type",
    ),
    idle(
        "analysis_settings",
        "describes the model; `analysis_mode` chooses it",
        "model_description.parameters model_description.per_angle_scaling model_description.physics \
         model_description.type",
    ),
    idle(
        "analyzer_parameters",
        "every frame from `start_frame` to `end_frame` is taken; `data_filtering.exclude_frames` leaves some out",
        "frame_step",
    ),
    idle("analyzer_parameters", "`dt` is in seconds", "time_unit"),
    idle(
        "experimental_data",
        "the data file itself holds the angles and its layout, and is read afresh",
        "cache_compression cache_directory cache_file_path cache_filename_template data_type phi_angles_file \
         phi_angles_path use_caching",
    ),
    idle("initial_parameters", "every parameter has one unit, which results name", "units"),
    idle("initial_parameters", "no parameter follows another one", "tied_parameters"),
    idle(
        "logging",
        "the log goes to the terminal; `logging.level` and `-v` set how much",
        "console.colors console.enabled console.format console.level console.show_progress enabled \
         file.backup_count file.enabled file.filename file.level file.max_size_mb file.path modules",
    ),
    idle(
        "data_filtering",
        "q and angles are chosen by `wavevector_q` and `phi_filtering`, frames by `start_frame` and `end_frame`",
        "combine_criteria fallback_on_empty frame_filtering phi_range q_range quality_threshold validation_level",
    ),
    idle(
        "noise_estimation",
        "noise is estimated in closed form, angle by angle; `enabled` alone says whether σ is taken from it",
        "adam_config.convergence_threshold adam_config.early_stopping adam_config.learning_rate \
         adam_config.max_epochs model per_angle.min_angles_required per_angle.validate_coverage \
         posterior_samples validation.check_convergence validation.reasonable_range validation.warn_outliers",
    ),
    idle(
        "optimization.cmc",
        "the whole posterior is sampled at once: there are no shards to combine",
        "backend backend_config.checkpoint_dir backend_config.checkpoint_frequency \
         backend_config.enable_checkpoints backend_config.keep_last_checkpoints backend_config.name \
         backend_config.resume_from_checkpoint combination.method combination.min_success_rate \
         combination.min_success_rate_warning combination.validate_results constant_scaling_threshold enable \
         heartbeat_timeout min_points_for_cmc per_angle_mode per_shard_mcmc.adaptive_sampling \
         per_shard_mcmc.chain_method per_shard_mcmc.enable_jax_profiling per_shard_mcmc.jax_profile_dir \
         per_shard_mcmc.min_samples per_shard_mcmc.min_warmup per_shard_timeout prior_tempering \
         reparameterization.bimodal_min_separation reparameterization.bimodal_min_weight \
         reparameterization.enable_d_total reparameterization.enable_log_gamma run_id \
         sharding.max_points_per_shard sharding.min_points_per_param sharding.min_points_per_shard \
         sharding.num_shards sharding.seed_base sharding.strategy validation.heterogeneity_abort \
         validation.max_between_shard_kl validation.max_divergence_rate validation.max_parameter_cv \
         validation.max_per_shard_rhat validation.min_per_shard_ess validation.min_success_rate \
         validation.nlsq_prior_width_factor validation.require_nlsq_warmstart validation.strict_mode \
         validation.use_nlsq_informed_priors backend_config.backend_name backend_config.chain_method \
         combination.combination_method nlsq.nlsq_prior_width_factor nlsq.use_nlsq_informed_priors \
         nlsq.use_nlsq_warmstart per_angle.constant_scaling_threshold per_angle.per_angle_mode \
         per_shard_mcmc.dense_mass per_shard_mcmc.init_strategy reparameterization.reparameterization_d_total \
         reparameterization.reparameterization_log_gamma reparameterization.use_reparam sharding.sharding_strategy \
         timeout.heartbeat_timeout timeout.per_shard_timeout validation.max_r_hat validation.min_bfmi \
         validation.min_ess",
    ),
    idle(
        "optimization.mcmc",
        "chains begin around the fit, with its covariance as their metric",
        "backend dense_mass_matrix initial_values.percentile_fallback.contrast_high_pct \
         initial_values.percentile_fallback.contrast_low_pct initial_values.percentile_fallback.offset_pct \
         initial_values.phi progress_bar",
    ),
    idle(
        "optimization.nlsq.anti_degeneracy",
        "the solver needs no remedies against degeneracy: scaling is eliminated exactly, and what the data don't determine is named",
        "enable execute_layers fourier_auto_threshold gradient_monitoring.consecutive_triggers \
         gradient_monitoring.enable gradient_monitoring.ratio_threshold gradient_monitoring.response \
         hierarchical.enable hierarchical.max_outer_iterations hierarchical.outer_tolerance \
         hierarchical.per_angle_max_iterations hierarchical.physical_max_iterations \
         regularization.auto_tune_lambda regularization.enable regularization.lambda regularization.max_cv \
         regularization.mode regularization.target_contribution regularization.target_cv \
         shear_weighting.alpha shear_weighting.enable shear_weighting.min_weight shear_weighting.normalize \
         shear_weighting.update_frequency",
    ),
    idle(
        "optimization.nlsq.cmaes",
        "the global search is of another kind; `enable` turns it on",
        "auto_select data_chunk_size max_generations max_restarts memory_limit_gb n_seeds normalization_epsilon \
         normalize popsize population_batch_size preset refine_with_nlsq refinement_ftol refinement_gtol \
         refinement_loss refinement_max_nfev refinement_workflow refinement_xtol restart_strategy \
         scale_threshold sigma sigma_warmstart tol_fun tol_x warmstart_auto_skip warmstart_skip_threshold",
    ),
    idle(
        "optimization.nlsq.multi_start",
        "the global search is of another kind; `enable`, `n_starts` and `seed` set it up",
        "degeneracy_threshold n_workers refine_top_k refinement_ftol sampling_strategy screen_keep_fraction \
         use_screening",
    ),
    idle(
        "optimization.nlsq.hybrid_streaming",
        "the data are never streamed through a stochastic optimiser",
        "checkpoint_frequency chunk_size cost_increase_tolerance enable enable_adaptive_warmup_lr \
         enable_checkpoints enable_cost_guard enable_step_clipping enable_warm_start_detection \
         gauss_newton_max_iterations gauss_newton_tol log_frequency max_warmup_iterations \
         max_warmup_step_size normalization_strategy normalize regularization_factor trust_region_initial \
         validate_numerics verbose warm_start_threshold warmup_iterations warmup_learning_rate \
         warmup_lr_careful warmup_lr_refinement",
    ),
    idle(
        "optimization.nlsq",
        "the solver sizes its work and reports its quality by itself",
        "diagnostics.check_gradients diagnostics.enabled diagnostics.log_jacobian_norms \
         diagnostics.sample_size goal memory_fraction progress.enable progress.log_interval progress.verbose \
         quality_validation.bounds_tolerance quality_validation.enable \
         quality_validation.reduced_chi_squared_threshold quality_validation.warn_on_bounds_hit \
         quality_validation.warn_on_convergence_failure quality_validation.warn_on_max_restarts \
         verbose workflow",
    ),
    idle(
        "optimization.nlsq",
        "the curvature of χ² at every point scales the steps and bounds them",
        "nlsq_x_scale trust_region_scale x_scale x_scale_map",
    ),
    idle(
        "optimization.nlsq",
        "the package heterodyne's solver; here one solver, without remedies and stages, does all",
        "cmaes_anti_degeneracy cmaes_diagonal_filtering cmaes_max_iterations cmaes_population_size cmaes_sigma0 \
         cmaes_tolfun cmaes_tolx cmaes_warmstart_auto_skip cmaes_warmstart_skip_threshold enable_anti_degeneracy \
         enable_diagnostics enable_gradient_monitoring enable_hierarchical enable_recovery enable_stratified \
         enable_streaming fourier_auto_threshold gradient_consecutive_triggers gradient_ratio_threshold \
         group_variance_lambda hierarchical_inner_tolerance hierarchical_max_outer_iterations \
         hierarchical_outer_tolerance hybrid_convergence_threshold hybrid_convergence_window hybrid_enable \
         hybrid_lbfgs_memory hybrid_max_phases hybrid_method hybrid_normalization hybrid_warmup_fraction \
         max_recovery_attempts method nlsq_memory_fallback_gb nlsq_memory_fraction nlsq_rescale_data nlsq_stability \
         recovery.lambda_growth recovery.lr_decay recovery.max_retries recovery.perturb_scale \
         recovery.trust_decay refine_top_k regularization_mode regularization_target_cv sampling_strategy \
         screen_keep_fraction streaming_chunk_size target_chunk_size use_jac use_nlsq_library \
         validation.chi2_fail_high validation.chi2_warn_high validation.chi2_warn_low validation.correlation_warn \
         validation.max_relative_uncertainty",
    ),
    idle("optimization.angle_filtering", "`phi_filtering` chooses the angles", "enabled target_angle_ranges"),
    idle(
        "optimization.recovery",
        "the solver needs no retries",
        "enable lambda_growth log_retries lr_decay max_attempts trust_decay",
    ),
    idle("optimization.sequential", "all angles are fitted together", "min_success_rate weighting"),
    idle(
        "optimization.stratification",
        "all pairs are used; nothing is sampled",
        "check_memory_safety collect_diagnostics enabled force_sequential_fallback log_diagnostics \
         max_imbalance_ratio target_chunk_size use_index_based",
    ),
    idle("optimization.streaming", "a matrix is read and compressed at a time", "adaptive_batching batch_size"),
    idle("optimization.streaming", "packed data aren't written to files any more", "keep_scratch"),
    idle("output", "results go straight into `output.directory`", "create_subdirs timestamp_dirs"),
    idle(
        "output",
        "results always hold the diagnostics; data, fit and residuals are in fitted_data.npz",
        "formats.yaml include_diagnostics save_correlation save_residuals",
    ),
    idle("", "the parameters of the two-component model, which this version doesn't fit", "parameters"),
    idle("parameter_space", "`analysis_mode` chooses the model", "model priors"),
    idle(
        "performance",
        "memory and processors are managed by `performance.strategy_override` and `memory_limit_gb`",
        "computation.enable_jit computation.vectorization_level memory_optimization.cache_strategy \
         memory_optimization.chunk_size memory_optimization.enable_caching memory_optimization.enabled \
         memory_optimization.max_memory_usage_gb",
    ),
    idle(
        "phi_filtering",
        "`target_ranges` alone decide which angles take part",
        "algorithm quality_control.max_angle_spread quality_control.min_angles_required \
         quality_control.require_orthogonal_angles quality_control.validate_coverage tolerance",
    ),
    idle(
        "plotting",
        "every picture and the report show data, fit and residuals; `color_scale.mode` alone chooses the colours' range",
        "angle_correlation angle_coverage color_scale.pin_legacy_range correlation_function \
         datashader.canvas_height datashader.canvas_width fit_quality fit_surface \
         matplotlib.interpolation matplotlib.savefig_kwargs.bbox_inches \
         matplotlib.savefig_kwargs.pad_inches matplotlib.use_tight_layout parameter_distributions \
         preview_mode residual_analysis show_plots style",
    ),
    idle(
        "quality_control",
        "the data are always checked",
        "angle_quality.check_angle_distribution angle_quality.min_angles_per_range \
         angle_quality.validate_angle_coverage enabled multi_angle_validation.check_correlation_consistency \
         multi_angle_validation.detect_anomalous_angles multi_angle_validation.validate_angle_dependencies",
    ),
    idle(
        "validation",
        "values, files and angles are checked in every run",
        "angle_validation.min_angle_count angle_validation.require_multiple_angles \
         angle_validation.validate_angle_ranges check_file_existence check_mode_compatibility \
         validate_parameter_ranges",
    ),
];

/// The keys of a list's items, where the items are sections.
pub(super) const ITEM_KEYS: &[(&str, &[&str])] = &[
    (
        "parameter_space.bounds",
        &["name", "min", "max", "type", "prior_mu", "prior_sigma", "unit", "description", "log_space"],
    ),
    ("phi_filtering.target_ranges", &["min_angle", "max_angle", "description"]),
];

/// Other names of keys that are read, and what they are called here. Where both stand in a file, ours counts.
pub(super) const OTHER_NAMES: &[(&str, &str)] = &[
    ("optimization.cmc.per_shard_mcmc.seed", "optimization.nuts.seed"),
    ("optimization.nlsq.analysis_mode", "analysis_mode"),
    ("optimization.nlsq.constant_scaling_threshold", "optimization.nlsq.anti_degeneracy.constant_scaling_threshold"),
    ("optimization.nlsq.ftol", "optimization.nlsq.tolerance"),
    ("optimization.nlsq.enable_cmaes", "optimization.nlsq.cmaes.enable"),
    ("optimization.nlsq.fourier_order", "optimization.nlsq.anti_degeneracy.fourier_order"),
    ("optimization.nlsq.multistart", "optimization.nlsq.multi_start.enable"),
    ("optimization.nlsq.multistart_n", "optimization.nlsq.multi_start.n_starts"),
    ("optimization.nlsq.per_angle_mode", "optimization.nlsq.anti_degeneracy.per_angle_mode"),
    ("output.base_directory", "output.directory"),
    ("output.output_dir", "output.directory"),
];

/// Keys without effect that ask for something unless they hold one of these words: then a warning says that they have none.
pub(super) const ASKING: &[(&str, &[&str])] = &[
    ("analyzer_parameters.frame_step", &["1"]),
    ("analyzer_parameters.time_unit", &["s", "sec", "second", "seconds"]),
    ("data_filtering.frame_filtering", &[]),
    ("data_filtering.phi_range", &[]),
    ("data_filtering.q_range", &[]),
    ("optimization.angle_filtering.enabled", &["false"]),
    ("parameters", &[]),
];
