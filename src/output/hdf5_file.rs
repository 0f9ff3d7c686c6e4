//! `result.h5`: all of a run in one self-describing file.
//!
//! | path | holds |
//! | --- | --- |
//! | `/experiment/{q, dt, gap}` | attribute `unit`; `gap` under shear only |
//! | `/parameters/<name>` | physical parameters; attributes `unit`, `uncertainty`, `at_bound`, `fixed`, `min`, `max` |
//! | `/parameters/{contrast, offset}` | means over the angles; the same attributes but `fixed` |
//! | `/at_reference/<name>` | rates and slopes at `t_ref`; attributes `unit`, `uncertainty`, `t_ref` (s) |
//! | `/derived/<name>` | what follows from the parameters; attributes `unit`, `uncertainty` |
//! | `/angles/<name>` | per angle: `phi`, `contrast`, `offset` with `…_uncertainty`, `chi_squared`, `reduced_chi_squared`, `n_pairs`, `noise`, `sigma` |
//! | `/fourier/<name>` | in the mode `fourier`: coefficients of contrast and offset; attributes `unit`, `uncertainty` |
//! | `/covariance` | physical parameters, then contrast and offset of every angle (of the physical parameters alone beyond 256 MB); attribute `names` |
//! | `/time/{t, D, D_uncertainty, gamma_dot, gamma_dot_uncertainty}` | the rates on the time axis |
//! | `/convergence/{level, pass, chi_squared, residual_variance, decrement}` | every judged pass |
//! | `/json/<name>` | the texts of the JSON files: data set, strategy, ranks, threads, times, other minima, warnings |
//! | `/` attributes | provenance, statistics, effective configuration as JSON |

use std::path::Path;

use hdf5::types::VarLenUnicode;
use hdf5::{Group, H5Type, Hyperslab};
use ndarray::ArrayView2;

use super::Report;
use crate::model::{PHYSICAL, TimeAxis};
use crate::text::grouped;
use crate::version::{VERSION, commit};
use crate::{Result, files};

/// Most bytes of the covariance: beyond, nobody reads an entry for every two of all angles.
const MOST_COVARIANCE: usize = 256 << 20;
/// Its rows that are made before they are written.
const COVARIANCE_ROWS: usize = 64;

/// Parameters whose covariance is written: all, or where that would be too large the physical ones.
fn covariance_size(report: &Report) -> usize {
    let full = &report.fit.covariance.full;
    let n = full.size();
    if n * n * size_of::<f64>() > MOST_COVARIANCE { full.n_physical() } else { n }
}

/// What to say of the covariance where not all of it is written.
pub fn left_out(report: &Report) -> Option<String> {
    let full = &report.fit.covariance.full;
    (covariance_size(report) < full.size()).then(|| {
        let (all, bytes) = (full.size(), full.size() * full.size() * size_of::<f64>());
        format!(
            "/covariance of result.h5 is that of the {} physical parameters: that of all {} would take {} MB",
            full.n_physical(),
            grouped(all as u64),
            grouped(bytes as u64 >> 20)
        )
    })
}

struct Writer {
    /// gzip level, 0 = none.
    compression: u8,
}

fn text(value: &str) -> VarLenUnicode {
    // HDF5 strings end at NUL; ours have none, but a file name could
    value.replace('\0', "?").parse().unwrap_or_default()
}

fn attribute<T: H5Type>(at: &hdf5::Location, name: &str, value: T) -> hdf5::Result<()> {
    at.new_attr::<T>().create(name)?.write_scalar(&value)
}

fn describe(dataset: &hdf5::Dataset, unit: &str, description: &str) -> hdf5::Result<()> {
    attribute(dataset, "unit", text(unit))?;
    attribute(dataset, "description", text(description))
}

impl Writer {
    fn list(&self, group: &Group, name: &str, values: &[f64], unit: &str, description: &str) -> hdf5::Result<()> {
        let builder = group.new_dataset_builder();
        // small arrays only grow by compressing
        let builder = if self.compression > 0 && values.len() > 1024 {
            builder.chunk(values.len()).shuffle().deflate(self.compression)
        } else {
            builder
        };
        describe(&builder.with_data(values).create(name)?, unit, description)
    }

    fn parameters(&self, report: &Report, group: &Group) -> hdf5::Result<()> {
        let fit = report.fit;
        for (i, info) in PHYSICAL.iter().enumerate().take(report.space.len()) {
            let dataset = group.new_dataset::<f64>().create(info.name)?;
            dataset.write_scalar(&fit.physical[i])?;
            describe(&dataset, info.unit, info.description)?;
            attribute(&dataset, "uncertainty", fit.covariance.physical[i])?;
            attribute(&dataset, "at_bound", fit.at_bound[i])?;
            attribute(&dataset, "fixed", report.space.fixed[i].is_some())?;
            attribute(&dataset, "min", report.space.bounds[i].0)?;
            attribute(&dataset, "max", report.space.bounds[i].1)?;
        }
        let at_bounds = report.at_bounds();
        for ((info, value, error), (min, max)) in
            report.mean_scaling().into_iter().zip([report.space.contrast, report.space.offset])
        {
            let dataset = group.new_dataset::<f64>().create(info.name)?;
            dataset.write_scalar(&value)?;
            describe(&dataset, info.unit, "mean over the angles")?;
            attribute(&dataset, "uncertainty", error)?;
            attribute(&dataset, "at_bound", at_bounds.iter().any(|b| b.starts_with(info.name)))?;
            attribute(&dataset, "min", min)?;
            attribute(&dataset, "max", max)?;
        }
        Ok(())
    }

    fn at_reference(&self, report: &Report, group: &Group) -> hdf5::Result<()> {
        for at in &report.fit.covariance.at_reference {
            for (suffix, value, error, description) in [
                ("at_t_ref", at.value, at.value_error, "rate at the reference time"),
                (
                    "slope_at_t_ref",
                    at.slope,
                    at.slope_error,
                    "slope of the rate in ln t at the reference time, of the power law",
                ),
            ] {
                let dataset = group.new_dataset::<f64>().create(format!("{}_{suffix}", at.name).as_str())?;
                dataset.write_scalar(&value)?;
                describe(&dataset, at.unit, description)?;
                attribute(&dataset, "uncertainty", error)?;
                attribute(&dataset, "t_ref", at.t_ref)?;
                attribute(&dataset, "t_ref_unit", text("s"))?;
            }
        }
        Ok(())
    }

    fn derived(&self, report: &Report, group: &Group) -> hdf5::Result<()> {
        for (derived, error) in report.derived() {
            let dataset = group.new_dataset::<f64>().create(derived.name)?;
            dataset.write_scalar(&derived.value)?;
            describe(&dataset, derived.unit, derived.description)?;
            attribute(&dataset, "uncertainty", error)?;
        }
        Ok(())
    }

    fn experiment(&self, report: &Report, group: &Group) -> hdf5::Result<()> {
        let e = report.experiment;
        for (name, value, unit, description) in [
            ("q", Some(e.q), "1/Å", "wavevector magnitude"),
            ("dt", Some(e.dt), "s", "time between frames"),
            ("gap", e.mode.has_shear().then_some(e.gap), "Å", "gap of the shear cell"),
        ] {
            let Some(value) = value else { continue };
            let dataset = group.new_dataset::<f64>().create(name)?;
            dataset.write_scalar(&value)?;
            describe(&dataset, unit, description)?;
        }
        Ok(())
    }

    /// What has no place of its own is in these texts, under the names that the JSON files have.
    fn json(&self, report: &Report, group: &Group) -> hdf5::Result<()> {
        for (name, value) in super::json::all(report) {
            let dataset = group.new_dataset::<VarLenUnicode>().create(name)?;
            dataset.write_scalar(&text(&super::json::text(&value)))?;
            describe(&dataset, "", &format!("the text of {name}.json"))?;
        }
        Ok(())
    }

    fn angles(&self, report: &Report, group: &Group) -> hdf5::Result<()> {
        let (fit, c) = (report.fit, &report.fit.covariance);
        let split = |v: &[(f64, f64)]| -> (Vec<f64>, Vec<f64>) { v.iter().copied().unzip() };
        let (contrast, offset) = split(&fit.projected.scaling);
        let (contrast_error, offset_error) = split(&c.scaling);
        let chi2: Vec<f64> = fit.projected.chi2_per_angle.iter().map(|&sum| report.in_sigma(sum)).collect();
        self.list(group, "phi", &report.experiment.phi, "degree", "azimuthal angle")?;
        self.list(group, "contrast", &contrast, "1", "contrast")?;
        self.list(group, "contrast_uncertainty", &contrast_error, "1", "standard error of contrast")?;
        self.list(group, "offset", &offset, "1", "offset (baseline)")?;
        self.list(group, "offset_uncertainty", &offset_error, "1", "standard error of offset")?;
        self.list(group, "chi_squared", &chi2, "1", "sum of squared residuals over sigma squared")?;
        let reduced: Vec<f64> = (0..report.experiment.n_angles()).map(|a| report.reduced_of_angle(a)).collect();
        self.list(group, "reduced_chi_squared", &reduced, "1", "chi_squared per degree of freedom")?;
        self.list(group, "n_pairs", &fit.projected.pairs_per_angle, "1", "pairs fitted")?;
        self.list(group, "noise", &report.data.noise, "1", "noise estimated from second differences along the lag")?;
        self.list(
            group,
            "sigma",
            &report.sigma.per_angle,
            "1",
            "standard deviation of c2 that residuals are divided by",
        )
    }

    /// The series in φ, in the mode that has them.
    fn fourier(&self, report: &Report, root: &Group) -> hdf5::Result<()> {
        let series = &report.fit.covariance.series;
        if series.is_empty() {
            return Ok(());
        }
        let group = root.create_group("fourier")?;
        for coefficient in series {
            let dataset = group.new_dataset::<f64>().create(coefficient.name.as_str())?;
            dataset.write_scalar(&coefficient.value)?;
            describe(
                &dataset,
                "1",
                "coefficient of the series in φ: c0 the mean, c1 of cos φ, s1 of sin φ, and so on",
            )?;
            attribute(&dataset, "uncertainty", coefficient.error)?;
        }
        Ok(())
    }

    /// By rows, so that the whole of it is never in memory.
    fn covariance(&self, report: &Report, root: &Group) -> hdf5::Result<()> {
        let full = &report.fit.covariance.full;
        let n = covariance_size(report);
        let dataset = root.new_dataset::<f64>().shape((n, n)).create("covariance")?;
        for first in (0..n).step_by(COVARIANCE_ROWS) {
            let rows = first..n.min(first + COVARIANCE_ROWS);
            let values: Vec<f64> = rows.clone().flat_map(|i| full.row(i).into_iter().take(n)).collect();
            let view = ArrayView2::from_shape((rows.len(), n), &values)?;
            dataset.write_slice(view, Hyperslab::from((rows, ..)))?;
        }
        let of_angle = |a: usize| [format!("contrast[{a}]"), format!("offset[{a}]")];
        let all = PHYSICAL[..report.space.len()].iter().map(|p| p.name.to_string());
        let names: Vec<VarLenUnicode> =
            all.chain((0..report.experiment.n_angles()).flat_map(of_angle)).take(n).map(|name| text(&name)).collect();
        dataset.new_attr_builder().with_data(&names).create("names")?;
        describe(&dataset, "product of the parameters' units", "covariance; zero rows for fixed and bounded parameters")
    }

    fn time(&self, report: &Report, group: &Group) -> hdf5::Result<()> {
        let e = report.experiment;
        let axis = TimeAxis::without_derivatives(e, &report.fit.physical);
        let t: Vec<f64> = (0..e.n_frames).map(|i| e.time(i)).collect();
        self.list(group, "t", &t, "s", "time of every selected frame")?;
        let blocks = [("D", "Å²/s", "transport coefficient"), ("gamma_dot", "1/s", "shear rate")];
        let rates = [Some(&axis.diffusion), axis.shear.as_ref()];
        for (block, ((name, unit, description), rate)) in blocks.into_iter().zip(rates).enumerate() {
            let Some(rate) = rate else { continue };
            self.list(group, name, &rate.rate, unit, description)?;
            let errors = report.rate_errors(block);
            self.list(group, &format!("{name}_uncertainty"), &errors, unit, "standard error of it")?;
        }
        Ok(())
    }

    fn convergence(&self, report: &Report, group: &Group) -> hdf5::Result<()> {
        let column = |f: fn(&crate::solver::Iteration) -> f64| report.fit.iterations.iter().map(f).collect::<Vec<_>>();
        self.list(group, "level", &column(|i| i.level as f64), "1", "resolution level, 0 the finest")?;
        self.list(group, "pass", &column(|i| i.pass as f64), "1", "pass on the level, from 1")?;
        let chi2: Vec<f64> = report.fit.iterations.iter().map(|i| report.in_sigma(i.chi2)).collect();
        self.list(group, "chi_squared", &chi2, "1", "sum of squared residuals over sigma squared")?;
        self.list(group, "residual_variance", &column(|i| i.residual_variance), "1", "squared residuals per dof")?;
        self.list(group, "decrement", &column(|i| i.decrement), "1", "distance to the minimum in standard errors")
    }

    fn root(&self, report: &Report, root: &Group) -> hdf5::Result<()> {
        for (name, value) in [
            ("program", "homodyne-mpi"),
            ("version", VERSION),
            ("git_commit", commit()),
            ("timestamp", &report.timestamp),
            ("data_file", &report.data.file.display().to_string()),
            ("data_hash", &report.data.hash),
            ("analysis_mode", report.experiment.mode.name()),
            ("shear_convention", report.experiment.convention.name()),
            ("scaling_mode", report.scaling.name()),
            ("scaling_mode_reason", &report.scaling_reason),
            ("sigma_source", report.sigma.source.name()),
            ("time_origin", report.config.time_origin.name()),
            ("convergence_status", report.convergence_status()),
            ("convergence_reason", report.fit.outcome.reason()),
            ("loss", report.config.fit.loss_name()),
            ("quality_flag", report.quality_flag()),
            ("quality_warnings", &report.quality_warnings().join("\n")),
            ("configuration", &report.config.effective.to_string()),
        ] {
            attribute(root, name, text(value))?;
        }
        for (name, value) in [
            ("chi_squared", report.chi_squared()),
            ("reduced_chi_squared", report.reduced_chi_squared()),
            ("reduced_chi_squared_against_noise", report.reduced_against_noise()),
            ("smooth_part", report.smooth.map_or(f64::NAN, |smooth| smooth.ratio)),
            ("degrees_of_freedom", report.fit.degrees_of_freedom),
            ("sigma", report.sigma.reference),
            ("noise_estimate", report.noise()),
            ("loss_value", report.loss_value()),
            ("n_pairs", report.fit.projected.n_pairs()),
        ] {
            attribute(root, name, value)?;
        }
        Ok(())
    }
}

/// Writes the file.
pub fn write(report: &Report, path: &Path) -> Result<()> {
    let writer = Writer { compression: report.config.output.compression };
    files::replace(path, |file| -> std::result::Result<(), String> {
        let fill = || -> hdf5::Result<()> {
            // the older format has no room for more than 64 KB in an attribute: names of 2045 angles and more
            let file =
                hdf5::File::with_options().with_fapl(|access| access.libver_v18()).create(files::name_of(file))?;
            writer.root(report, &file)?;
            writer.parameters(report, &file.create_group("parameters")?)?;
            writer.experiment(report, &file.create_group("experiment")?)?;
            writer.at_reference(report, &file.create_group("at_reference")?)?;
            writer.derived(report, &file.create_group("derived")?)?;
            writer.json(report, &file.create_group("json")?)?;
            writer.angles(report, &file.create_group("angles")?)?;
            writer.fourier(report, &file)?;
            writer.covariance(report, &file)?;
            writer.time(report, &file.create_group("time")?)?;
            writer.convergence(report, &file.create_group("convergence")?)?;
            file.flush()?;
            file.close()
        };
        fill().map_err(crate::error::hdf5_reason)
    })
}
