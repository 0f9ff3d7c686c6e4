//! Gauss rules of spans of frames.
//!
//! Sums over the frames of a span are sums over a discrete measure. Its n-point Gauss rule (Golub and Welsch, Math. Comp. 23, 1969)
//! gives them exactly for polynomials of degree up to 2n − 1, at nodes between the frames; its orthonormal polynomials take values
//! at the frames to values at the nodes. They are built by the Lanczos recurrence with reorthogonalisation, from whatever frames
//! live, equally spaced or not; the rule of a union of two spans comes from the nodes of both, as polynomials stay what they are
//! on either.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use nalgebra::{DMatrix, SymmetricEigen};

use super::plan::LEAF;

/// Nodes of a span, where it has more frames than this.
pub const NODES: usize = 16;
/// Nodes where few are enough.
pub const FEW: usize = 8;

/// Newton's steps from the eigenvalues to the nodes.
const POLISHED: usize = 2;

/// A Gauss rule of weighted points.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Where the nodes lie, ascending; in frames from the beginning of the span.
    pub nodes: Vec<f64>,
    /// Their weights, all positive.
    pub weights: Vec<f64>,
    /// Node by node, the factors that take values at the points to the node's.
    pub projection: Vec<Vec<f64>>,
    /// Degree by degree, the factors that take values at the nodes to the largest contribution of that degree.
    pub spectrum: Vec<Vec<f64>>,
}

impl Rule {
    /// The rule with up to `most` nodes of points in ascending order with positive weights; with no more points than nodes, the
    /// points themselves.
    pub fn new(points: &[f64], weights: &[f64], most: usize) -> Self {
        let m = points.len();
        let n = m.min(most);
        let total: f64 = weights.iter().sum();
        let (middle, half) = (0.5 * (points[0] + points[m - 1]), (0.5 * (points[m - 1] - points[0])).max(0.5));
        let x: Vec<f64> = points.iter().map(|x| (x - middle) / half).collect();
        let roots: Vec<f64> = weights.iter().map(|w| w.sqrt()).collect();
        // orthonormal polynomials times the roots of the weights
        let mut p: Vec<Vec<f64>> = vec![roots.iter().map(|r| r / total.sqrt()).collect()];
        let (mut a, mut b) = (Vec::with_capacity(n), Vec::with_capacity(n));
        for k in 0..n {
            let mut v: Vec<f64> = x.iter().zip(&p[k]).map(|(x, p)| x * p).collect();
            a.push(dot(&v, &p[k]));
            if k + 1 == n {
                break;
            }
            for _ in 0..2 {
                for q in &p {
                    let part = dot(q, &v);
                    v.iter_mut().zip(q).for_each(|(v, q)| *v -= part * q);
                }
            }
            let norm = dot(&v, &v).sqrt();
            b.push(norm);
            p.push(v.into_iter().map(|v| v / norm).collect());
        }
        let scale = |k: usize| ((2 * k + 1) as f64 / total).sqrt();
        if n == m {
            let projection = (0..m).map(|i| (0..m).map(|j| f64::from(u8::from(i == j))).collect()).collect();
            let spectrum = p.iter().enumerate();
            let spectrum = spectrum.map(|(k, p)| p.iter().zip(&roots).map(|(p, r)| scale(k) * p * r).collect());
            return Self {
                nodes: points.to_vec(),
                weights: weights.to_vec(),
                projection,
                spectrum: spectrum.collect(),
            };
        }
        let jacobi = DMatrix::from_fn(n, n, |i, j| match i.abs_diff(j) {
            0 => a[i],
            1 => b[i.min(j)],
            _ => 0.0,
        });
        let mut nodes: Vec<f64> = SymmetricEigen::new(jacobi).eigenvalues.iter().copied().collect();
        nodes.sort_by(f64::total_cmp);
        // polynomials at a point, by their recurrence; the last one is the one that is zero at the nodes, with its slope
        let polynomials = |x: f64| {
            let (mut at, mut slopes) = (vec![1.0 / total.sqrt()], vec![0.0]);
            for k in 0..n {
                let before = if k > 0 { [b[k - 1] * at[k - 1], b[k - 1] * slopes[k - 1]] } else { [0.0; 2] };
                let scale = if k + 1 < n { b[k] } else { 1.0 };
                let slope = at[k] + (x - a[k]) * slopes[k] - before[1];
                at.push(((x - a[k]) * at[k] - before[0]) / scale);
                slopes.push(slope / scale);
            }
            (at, slopes[n])
        };
        // the eigenvalues may have lost digits
        for node in &mut nodes {
            for _ in 0..POLISHED {
                let (at, slope) = polynomials(*node);
                *node -= at[n] / slope;
            }
        }
        let at: Vec<Vec<f64>> = nodes
            .iter()
            .map(|&node| {
                let (mut at, _) = polynomials(node);
                at.truncate(n);
                at
            })
            .collect();
        let weights: Vec<f64> = at.iter().map(|at| 1.0 / dot(at, at)).collect();
        let projection =
            at.iter().map(|at| (0..m).map(|i| (0..n).map(|k| at[k] * p[k][i]).sum::<f64>() * roots[i]).collect());
        let spectrum =
            (0..n).map(|k| at.iter().zip(&weights).map(|(at, weight)| scale(k) * weight * at[k]).collect()).collect();
        Self {
            projection: projection.collect(),
            spectrum,
            nodes: nodes.iter().map(|x| x * half + middle).collect(),
            weights,
        }
    }

    /// Number of nodes.
    pub fn n(&self) -> usize {
        self.nodes.len()
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// What stands for a span: its rule, and the one with few nodes, which is formed from the nodes.
#[derive(Debug)]
pub struct SpanRule {
    /// Frames that live, from the beginning of the span; empty in a union of spans.
    pub frames: Vec<usize>,
    /// By frame of the span, of a union by node of either part ([`NODES`] each): its factors in all nodes.
    pub spread: Vec<[f64; NODES]>,
    /// By node: its factors in the few.
    pub spread_few: Vec<[f64; NODES]>,
    /// From the frames, or from the nodes of both parts.
    pub rule: Rule,
    /// From the nodes, where there are more of them.
    pub few: Option<Rule>,
}

impl SpanRule {
    /// `places`: where the points stand in `spread`.
    fn new(frames: Vec<usize>, points: &[f64], weights: &[f64], places: &[usize]) -> Self {
        let rule = Rule::new(points, weights, NODES);
        let few = (rule.n() > FEW).then(|| Rule::new(&rule.nodes, &rule.weights, FEW));
        let own: Vec<usize> = (0..rule.n()).collect();
        let spread_few = few.as_ref().map(|few| spread(few, &own, NODES)).unwrap_or_default();
        let spread = spread(&rule, places, LEAF);
        Self { frames, spread, spread_few, rule, few }
    }

    /// Weights of the few nodes, or of all where there are no more.
    pub fn few_weights(&self) -> &[f64] {
        self.few.as_ref().map_or(&self.rule.weights, |few| &few.weights)
    }
}

/// The factors of points in the nodes, by the place of the point.
fn spread(rule: &Rule, places: &[usize], n: usize) -> Vec<[f64; NODES]> {
    let mut out = vec![[0.0; NODES]; n];
    for (node, factors) in rule.projection.iter().enumerate() {
        for (&place, &factor) in places.iter().zip(factors) {
            out[place][node] = factor;
        }
    }
    out
}

/// Rules that were formed already: nearly all spans have the same few.
#[derive(Debug, Default)]
pub struct Rules {
    /// By the frames that live, bit by bit.
    leaves: Mutex<HashMap<u64, Arc<SpanRule>>>,
    /// By both parts, 0 for one that is dead, and their distance.
    unions: Mutex<HashMap<(usize, usize, usize), Arc<SpanRule>>>,
}

impl Rules {
    /// Of the frames of a span of up to 64 that live; `None` where none does.
    pub fn of_frames(&self, living: u64) -> Option<Arc<SpanRule>> {
        if living == 0 {
            return None;
        }
        let mut leaves = self.leaves.lock().unwrap_or_else(PoisonError::into_inner);
        let rule = leaves.entry(living).or_insert_with(|| {
            let frames: Vec<usize> = (0..LEAF).filter(|frame| living >> frame & 1 == 1).collect();
            let points: Vec<f64> = frames.iter().map(|&frame| frame as f64).collect();
            let weights = vec![1.0; points.len()];
            let places = frames.clone();
            Arc::new(SpanRule::new(frames, &points, &weights, &places))
        });
        Some(Arc::clone(rule))
    }

    /// Of two spans, the second `apart` frames behind the first; of one of them, where no frame of the other lives.
    pub fn of_union(&self, parts: [Option<&Arc<SpanRule>>; 2], apart: usize) -> Option<Arc<SpanRule>> {
        parts.iter().find(|part| part.is_some())?;
        let [first, second] = parts.map(|part| part.map_or(0, |part| Arc::as_ptr(part) as usize));
        let mut unions = self.unions.lock().unwrap_or_else(PoisonError::into_inner);
        let rule = unions.entry((first, second, apart)).or_insert_with(|| {
            let (mut points, mut weights, mut places) = (Vec::new(), Vec::new(), Vec::new());
            for (k, part) in parts.into_iter().enumerate() {
                let Some(Rule { nodes, weights: own, .. }) = part.map(|part| &part.rule) else { continue };
                points.extend(nodes.iter().map(|x| x + (k * apart) as f64));
                weights.extend(own);
                places.extend((0..own.len()).map(|node| k * NODES + node));
            }
            Arc::new(SpanRule::new(Vec::new(), &points, &weights, &places))
        });
        Some(Arc::clone(rule))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Σ weight·node^degree about the middle of 64 frames.
    fn moment(points: impl Iterator<Item = (f64, f64)>, degree: i32) -> f64 {
        points.map(|(x, w)| w * ((x - 31.5) / 32.0).powi(degree)).sum()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        // spans of 16, 32 and 64 frames, few or nearly all of which live
        #[test]
        fn rules_are_exact(a in any::<u64>(), b in any::<u64>(), c in any::<u64>(), dense in 0usize..4, size in 0usize..3) {
            let living = [a & b, a, a | b, a | b | c][dense] & (u64::MAX >> (64 - (16 << size)));
            prop_assume!(living != 0);
            let rules = Rules::default();
            let span = rules.of_frames(living).unwrap();
            let frames = || (0..64).filter(|i| living >> i & 1 == 1).map(|i| (f64::from(i), 1.0));
            let n = f64::from(living.count_ones());
            for rule in std::iter::once(&span.rule).chain(&span.few) {
                let nodes = || rule.nodes.iter().copied().zip(rule.weights.iter().copied());
                for degree in 0..2 * rule.n() as i32 {
                    let (sum, exact) = (moment(nodes(), degree), moment(frames(), degree));
                    prop_assert!((sum - exact).abs() < 1e-13 * n, "{degree}: {sum} {exact}");
                }
            }
            // polynomials keep their values, as far as a node weighs
            for degree in 0..span.rule.n() as i32 {
                let values: Vec<f64> = frames().map(|(x, _)| ((x - 31.5) / 32.0).powi(degree)).collect();
                for ((row, node), weight) in span.rule.projection.iter().zip(&span.rule.nodes).zip(&span.rule.weights) {
                    let error = dot(row, &values) - ((node - 31.5) / 32.0).powi(degree);
                    prop_assert!(error.abs() * weight.sqrt() < 1e-12 * n, "{error:e} {weight:e}");
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        // up to 512 frames, of which some or whole spans are dead
        #[test]
        fn unions_are_exact(living in proptest::collection::vec(prop_oneof![Just(0), Just(u64::MAX), any::<u64>()], 8)) {
            let rules = Rules::default();
            let mut spans: Vec<_> = living.iter().map(|&living| rules.of_frames(living)).collect();
            let mut size = 64;
            while spans.len() > 1 {
                spans = spans.chunks(2).map(|pair| rules.of_union([pair[0].as_ref(), pair[1].as_ref()], size)).collect();
                size *= 2;
                for (k, span) in spans.iter().enumerate() {
                    let lives = |frame: &usize| living[(k * size + frame) / 64] >> (frame % 64) & 1 == 1;
                    let frames: Vec<f64> = (0..size).filter(lives).map(|frame| frame as f64).collect();
                    prop_assert_eq!(span.is_some(), !frames.is_empty());
                    for rule in span.iter().flat_map(|span| std::iter::once(&span.rule).chain(&span.few)) {
                        for degree in 0..2 * rule.n() as i32 {
                            let power = |x: f64| (2.0 * x / size as f64 - 1.0).powi(degree);
                            let exact: f64 = frames.iter().map(|&x| power(x)).sum();
                            let sum: f64 = rule.nodes.iter().zip(&rule.weights).map(|(&x, w)| w * power(x)).sum();
                            prop_assert!((sum - exact).abs() < 1e-13 * frames.len() as f64, "{degree}: {sum} {exact}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_union_is_the_rule_of_all_its_frames() {
        let rules = Rules::default();
        let (left, right) = (rules.of_frames(u64::MAX).unwrap(), rules.of_frames(u64::MAX >> 9).unwrap());
        let union = rules.of_union([Some(&left), Some(&right)], 64).unwrap();
        let points: Vec<f64> = (0..64 + 55).map(f64::from).collect();
        let whole = Rule::new(&points, &vec![1.0; points.len()], NODES);
        for (a, b) in union.rule.nodes.iter().zip(&whole.nodes).chain(union.rule.weights.iter().zip(&whole.weights)) {
            assert!((a - b).abs() < 1e-9, "{a} {b}");
        }
        assert!(Arc::ptr_eq(&union, &rules.of_union([Some(&left), Some(&right)], 64).unwrap()), "formed once");
    }
}
