//! Nodes: weighted pairs that stand for many pairs of frames.
//!
//! A smooth function of two frames is, over spans of them, a polynomial to as many digits as are wanted, and a sum over all pairs of
//! two spans is then a sum over pairs of nodes of the spans' Gauss rules ([`rules`]): with Ỹ = P·Y·Pᵀ the data at the nodes and
//! W_kl = w_k·w_l,
//!
//! ```text
//! Σ_ij (y_ij − f_ij)² = [Σ_ij y_ij² − Σ_kl W_kl·Ỹ_kl²] + Σ_kl W_kl·(Ỹ_kl − f_kl)²     Σ_ij h_ij·h'_ij = Σ_kl W_kl·h_kl·h'_kl
//! ```
//!
//! exactly. So the data of a tile are [compressed](compress) once, block by block of a [pyramid](blocks), and a pass goes over
//! the nodes of the largest blocks that resolve the model where it is. Missing pairs of a block are filled with its mean and taken
//! back one by one; of a block with many, the single pairs are taken. Frames without any value have no part in the rules.
//!
//! Everything here is a function of the data's shape and values alone, never of ranks, threads or points.

pub(crate) mod blocks;
pub(crate) mod compress;
pub(crate) mod compressor;
pub(crate) mod leaves;
pub mod plan;
mod project;
pub(crate) mod rules;
pub(crate) mod spans;
pub(crate) mod store;
