//! What a fit says about itself in words, beside its numbers: angles and frames that don't go with the others, a shear that the
//! angles don't show, structure that is left in the residuals.

use super::Report;
use super::quality::Finding;
use crate::dataset::LeftOut;
use crate::gram::overview::{Overview, SHIFTS};
use crate::model::{TimeAxis, sinc};

/// χ²/DOF against the noise from which on an angle is out of line, absolutely and against the median of all,
const OUT_OF_LINE: f64 = 1.3;
/// and in standard errors of χ².
const CLEARLY: f64 = 6.0;
/// Relative error of the shear rate at t_ref from which on the shear hardly shows.
const HARDLY: f64 = 0.3;
/// Autocorrelation of the residuals that is worth a word, if it is clear.
const CORRELATED: f64 = 0.02;
/// Most angles named in a sentence.
const MOST_NAMED: usize = 3;

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The worst of `found`, as the first of many.
fn named(mut found: Vec<(f64, String)>) -> Option<String> {
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    let more = found.len().saturating_sub(MOST_NAMED);
    let texts: Vec<String> = found.into_iter().take(MOST_NAMED).map(|(_, text)| text).collect();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    (!texts.is_empty()).then(|| format!("{}{more}", texts.join(", ")))
}

/// Angles whose residuals are larger than their own noise allows, while those of most others aren't.
pub(super) fn angles_out_of_line(report: &Report) -> Option<String> {
    let (e, p) = (report.experiment, &report.fit.projected);
    let against_noise =
        |a: usize| report.reduced_of_angle(a) * (report.sigma.per_angle[a] / report.data.noise[a]).powi(2);
    let all: Vec<f64> = (0..e.n_angles()).map(against_noise).collect();
    let usual = median(&all);
    let out = (0..all.len()).filter(|&a| {
        let clear = 1.0 + CLEARLY * (2.0 / p.pairs_per_angle[a].max(1.0)).sqrt();
        all.len() > 2 && all[a] > OUT_OF_LINE * usual.max(1.0) && all[a] > clear * usual
    });
    let found = out.map(|a| (all[a], format!("φ = {}° ({:.2})", e.phi[a], all[a].sqrt()))).collect();
    named(found).map(|angles| {
        format!(
            "residuals are larger than the noise at some angles only, in units of it: {angles}, {:.2} at most others; look at \
             these angles, phi_filtering.target_ranges leaves them out",
            usual.sqrt()
        )
    })
}

/// A shear rate that the selected angles hardly show, or not apart from phi0.
pub(super) fn shear_unseen(report: &Report) -> Option<String> {
    let e = report.experiment;
    let at = report.fit.covariance.at_reference.get(1)?;
    let is_free = |k: usize| report.space.fixed[k].is_none();
    if e.n_angles() == 1 && is_free(6) && (3..6).any(is_free) {
        return Some(
            "at one angle the shear rate and phi0 enter as one product, gamma_dot·cos(phi0 − φ): fix phi0, or fit more angles".into(),
        );
    }
    let seen = at.value_error.is_finite() && at.value_error <= HARDLY * at.value.abs();
    if seen || !(3..6).any(is_free) {
        return None;
    }
    let axis = TimeAxis::without_derivatives(e, &report.fit.physical);
    let shear = axis.shear.as_ref()?;
    let total = shear.integral.difference(0, shear.integral.len() - 1);
    let phase = |a: usize| (axis.phase_factors(e, a).0 * total).abs();
    let best = (0..e.n_angles()).max_by(|&a, &b| phase(a).total_cmp(&phase(b)))?;
    Some(format!(
        "the shear hardly shows at the selected angles: at its strongest, over the whole run at φ = {}°, it takes {:.1} % off the \
         correlation; angles along the flow show most of it",
        e.phi[best],
        100.0 * (1.0 - sinc(phase(best)).powi(e.convention.power()))
    ))
}

/// Frames, as the file counts them, whose residuals are larger than those of most at their angle.
fn frames_out_of_line(report: &Report, seen: &[Overview]) -> Option<String> {
    let mut found = Vec::new();
    for (angle, overview) in seen.iter().enumerate() {
        let means: Vec<f64> = overview.frames.iter().map(|frame| frame.mean()).collect();
        let usual = median(&means.iter().copied().filter(|mean| mean.is_finite()).collect::<Vec<_>>());
        let is_out = |position: usize| {
            let clear = 1.0 + CLEARLY * (2.0 / overview.frames[position].count.max(1) as f64).sqrt();
            means[position] > OUT_OF_LINE.max(clear) * usual
        };
        // neighbours together
        let mut position = 0;
        while position < means.len() {
            let run = (position..means.len()).take_while(|&k| is_out(k)).count();
            if run > 0 {
                let number = |position: usize| report.data.first_frame + position + 1;
                let worst = means[position..position + run].iter().copied().fold(0.0, f64::max);
                let frames = match run {
                    1 => format!("frame {}", number(position)),
                    _ => format!("frames {}–{}", number(position), number(position + run - 1)),
                };
                let times = (worst / usual).sqrt();
                found.push((worst / usual, format!("{frames} at φ = {}° ({times:.2})", report.experiment.phi[angle])));
            }
            position += run + 1;
        }
    }
    named(found).map(|frames| {
        format!(
            "residuals are larger in some frames than in most, in units of the usual: {frames}; look at these frames, \
             data_filtering.exclude_frames leaves them out; where they are many at the beginning the model misses something"
        )
    })
}

/// Whole pieces of the data that have no value, though the configuration keeps them.
fn missing_pieces(report: &Report, seen: &[Overview], left_out: &LeftOut) -> Option<String> {
    let mut found = Vec::new();
    for (angle, overview) in seen.iter().enumerate() {
        let grid = overview.blocks.grid;
        // position 0 is frame 1 of the selection
        let frames = |cell: usize| grid.edge(cell) + 1..grid.edge(cell + 1) + 1;
        let pieces: Vec<(usize, usize)> =
            overview.blocks.empty().filter(|&(i, j)| left_out.keeps_any(frames(i), frames(j))).collect();
        let Some(&(i, j)) = pieces.first() else { continue };
        let range = |cell: usize| {
            let of = frames(cell);
            format!("{}–{}", report.data.first_frame + of.start, report.data.first_frame + of.end - 1)
        };
        let share = pieces.len() as f64 / grid.count() as f64;
        let text = format!(
            "{:.0} % of the matrix at φ = {}°, frames {} with {} first",
            100.0 * share,
            report.experiment.phi[angle],
            range(i),
            range(j)
        );
        found.push((share, text));
    }
    named(found).map(|pieces| {
        format!(
            "data are missing in one piece: {pieces}; what is missing at random does no harm, but whole pieces may have been \
             lost when the file was written or copied"
        )
    })
}

/// What looking at the residuals says.
pub fn seen(report: &Report, seen: &[Overview], left_out: &LeftOut) -> Vec<Finding> {
    let found = [missing_pieces(report, seen, left_out), frames_out_of_line(report, seen), structure(report, seen)];
    found.into_iter().flatten().map(Finding::doubt).collect()
}

/// Residuals that are correlated from frame to frame, at angles that have been looked at.
fn structure(report: &Report, seen: &[Overview]) -> Option<String> {
    let mut found = Vec::new();
    for (angle, overview) in seen.iter().enumerate() {
        let counts = [overview.along_lag[0].count, overview.along_age[0].count];
        let own = overview.autocorrelation().map(|of_shifts| of_shifts[0]);
        for ((value, count), along) in own.into_iter().zip(counts).zip(["lag", "age"]) {
            let independent = 1.0 / (count.max(1) as f64).sqrt();
            if value.abs() > CORRELATED && value.abs() > CLEARLY * independent {
                found.push((
                    value.abs(),
                    format!("{value:.2} along the {along} at φ = {}°", report.experiment.phi[angle]),
                ));
            }
        }
    }
    named(found).map(|places| {
        format!(
            "residuals {} frame apart are correlated: {places}; the model misses something, or the noise isn't independent from \
             pair to pair, and then errors are too small",
            SHIFTS[0]
        )
    })
}
