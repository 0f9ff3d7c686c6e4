//! Input files: one file per layout, all giving the same [`Dataset`].
//!
//! Opening a file reads its metadata, picks the matrices that the selection asks for and checks everything that can be
//! checked without reading them. Matrices are then read one at a time into a buffer that is reused: beyond it nothing
//! here grows with the data.

mod aged;
mod aps_matlab;
mod aps_old;
mod aps_u;
mod bands;
mod blank;
mod chunks;
mod chx;
mod esrf_id02;
mod euxfel;
mod filters;
mod fingerprint;
mod hdf;
mod left_out;
mod lzf;
mod native;
pub mod noise;
mod npy;
mod npz;
mod nxxpcs;
mod open;
mod patience;
pub mod quantiles;
mod rings;
mod selection;
mod sigma;
mod squares;
mod storage;
mod triangle;
mod units;
mod wavevectors;
mod whole;
pub mod write;
mod zipped;

use std::ops::Range;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::file_identity::FileIdentity;
use crate::{Result, buffers};

pub use blank::Blank;
pub use fingerprint::{Digest, digest, fingerprint};
pub use left_out::{DataFilter, LeftOut};
pub(crate) use npy::f64_header;
pub use quantiles::Plateaus;
pub(crate) use rings::{rings, short};
pub use sigma::PairSigma;
pub use triangle::is_empty;
pub use write::{WriteSpec, write_file, write_from};

/// File layouts that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Layout {
    /// APS-U, written by boost_corr.
    ApsU,
    /// APS 8-ID-I before the upgrade.
    ApsOld,
    /// APS 8-ID-I of the time when MATLAB wrote the results.
    ApsMatlab,
    /// The NeXus application definition for XPCS.
    Nxxpcs,
    /// CHX at NSLS-II, written by pyCHX.
    Chx,
    /// ID02 at the ESRF.
    EsrfId02,
    /// MID at the European XFEL, written by midtools.
    Euxfel,
    /// Ours, for large runs.
    Native,
    /// Cache of the Python package.
    Npz,
}

impl Layout {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::ApsU,
        Self::ApsOld,
        Self::ApsMatlab,
        Self::Nxxpcs,
        Self::Chx,
        Self::EsrfId02,
        Self::Euxfel,
        Self::Native,
        Self::Npz,
    ];

    /// The name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::ApsU => "APS-U",
            Self::ApsOld => "APS 8-ID-I (old)",
            Self::ApsMatlab => "APS 8-ID-I (MATLAB)",
            Self::Nxxpcs => "NXxpcs",
            Self::Chx => "CHX",
            Self::EsrfId02 => "ESRF ID02",
            Self::Euxfel => "European XFEL",
            Self::Native => "native",
            Self::Npz => "NPZ cache",
        }
    }

    /// The word for `experimental_data.file_format`.
    pub fn key(self) -> &'static str {
        match self {
            Self::ApsU => "aps_u",
            Self::ApsOld => "aps_old",
            Self::ApsMatlab => "aps_matlab",
            Self::Nxxpcs => "nxxpcs",
            Self::Chx => "chx",
            Self::EsrfId02 => "esrf_id02",
            Self::Euxfel => "euxfel",
            Self::Native => "native",
            Self::Npz => "npz",
        }
    }
}

/// What c2 has become in a file where nothing is left of a correlation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Baseline {
    /// The file holds c2 − 1.
    Zero,
    /// The file holds c2.
    One,
}

/// Which pulse train of a file that holds matrices of several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Train {
    /// Their mean.
    Mean,
    /// One of them, from 1 in the order of the file.
    One(usize),
}

/// What some files leave open, as the configuration says it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Unsaid {
    /// φ in degree where a file holds none: one for every matrix of the file, in its order, or one for all of them.
    pub phi: Option<Vec<f64>>,
    /// What full decorrelation is in a file that should say so, but doesn't.
    pub baseline: Option<Baseline>,
    /// The train where there are several.
    pub train: Option<Train>,
}

/// Whose q the model takes where the file has one and the configuration names one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum QFrom {
    /// The file's, that of the matrices picked.
    #[default]
    File,
    /// The one that picked them, as in the Python package.
    Config,
}

impl QFrom {
    /// The name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Config => "config",
        }
    }
}

/// What the configuration asks of a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Selection {
    /// Layout to insist on; `None` = detect.
    pub layout: Option<Layout>,
    /// Wavevector magnitude to pick, Å⁻¹; `None` = the file must leave no choice.
    pub q: Option<f64>,
    /// Whose q the model takes.
    pub q_from: QFrom,
    /// How far the q of a bin may be from `q`, as a fraction of it, in layouts where every bin has a q of its own.
    pub q_tolerance: f64,
    /// Group of the results in APS 8-ID-I files that don't name it, the analysis in ESRF ID02 files that hold several.
    pub exchange_key: Option<String>,
    /// What the file may leave open.
    pub unsaid: Unsaid,
    /// First frame, from 1.
    pub start_frame: usize,
    /// Last frame, inclusive; `None` = the last of the file.
    pub end_frame: Option<usize>,
    /// Time between frames, s; wins over the file's.
    pub dt: Option<f64>,
    /// Ranges of φ (min, max) in degree to keep; `None` = all angles. Ranges wrap at ±180.
    pub phi_ranges: Option<Vec<(f64, f64)>>,
    /// Keep all angles when no angle lies in the ranges, instead of failing.
    pub fallback_to_all_angles: bool,
    /// Frames and lags to leave out.
    pub filter: DataFilter,
    /// Whether the halves of a full matrix are compared (`performance.fast_mode` leaves that out).
    pub compare_halves: bool,
}

impl Default for Selection {
    fn default() -> Self {
        Self {
            layout: None,
            q: None,
            q_from: QFrom::default(),
            q_tolerance: 0.1,
            exchange_key: None,
            unsaid: Unsaid::default(),
            start_frame: 1,
            end_frame: None,
            dt: None,
            phi_ranges: None,
            fallback_to_all_angles: false,
            filter: DataFilter::default(),
            compare_halves: true,
        }
    }
}

/// One matrix of the file, selected or not.
#[derive(Debug, Clone, PartialEq)]
pub struct Slot {
    /// HDF5 path or name of the array (with an index where several matrices share a dataset).
    pub path: String,
    /// Bin number as the writer counts (from 1); `None` where the layout has no bins.
    pub bin: Option<i64>,
    /// Wavevector magnitude, Å⁻¹.
    pub q: f64,
    /// Azimuthal angle, degree; NaN where inspection found none.
    pub phi: f64,
    /// Whether the selection keeps it.
    pub selected: bool,
}

/// What reading one matrix found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MatrixReport {
    /// "upper", "lower" or "full".
    pub triangle: &'static str,
    /// Selected frames (from 0 in the selection) whose whole row and column are exact zeros: left out as missing. Those
    /// that the configuration leaves out aren't listed.
    pub dead_frames: Vec<usize>,
    /// Pairs i < j of fitted frames (all but the selection's first) without a finite value, dead frames included, and
    /// not excluded.
    pub n_missing: u64,
    /// Parts that were never filled, missing too.
    pub blanks: Vec<Blank>,
    /// Pairs of fitted frames that the configuration leaves out (see [`LeftOut`]), with a value or without.
    pub n_excluded: u64,
}

/// The strict upper triangle of one matrix over the selected frames, in a buffer that is reused from matrix to matrix.
#[derive(Debug, Default)]
pub struct TwoTime {
    /// N × N, row-major, its upper triangle filled; NaN where data are missing.
    pub(crate) values: Vec<f32>,
    /// Number of selected frames.
    pub(crate) n: usize,
    /// Rows and columns, as read, that the file holds no storage for.
    unwritten: Vec<(Range<usize>, Range<usize>)>,
    /// What the file reads as where nothing was written; 0 where it says nothing else.
    fill: f32,
    /// What the reader itself took for never filled.
    blanks: Vec<Blank>,
}

impl TwoTime {
    /// From a row-major N×N matrix whose strict upper triangle is filled.
    ///
    /// # Panics
    /// When `values` doesn't hold n² entries.
    pub fn from_matrix(n: usize, values: Vec<f32>) -> Self {
        assert_eq!(values.len(), n * n, "entries of an N×N matrix");
        Self { values, n, ..Self::default() }
    }

    /// Makes room for N × N values, whose contents are anything.
    ///
    /// # Errors
    /// [`crate::Error::Memory`].
    pub(crate) fn resize(&mut self, n: usize) -> Result<()> {
        let entries = n.saturating_mul(n);
        if self.values.len() != entries {
            // the old buffer goes before its successor comes: never two matrices at once
            (self.n, self.values) = (0, Vec::new());
            self.values = buffers::zeros(entries, || format!("a matrix of {n} × {n} values"))?;
        }
        self.n = n;
        (self.unwritten, self.fill, self.blanks) = Default::default();
        Ok(())
    }

    /// Mean of all values; NaN where there is none.
    pub fn mean(&self) -> f64 {
        // eight abreast, without a branch
        let (mut sums, mut counts) = ([0.0; 8], [0u64; 8]);
        for i in 0..self.n {
            for eight in self.row_after(i).chunks(8) {
                for ((sum, count), &v) in sums.iter_mut().zip(&mut counts).zip(eight) {
                    *sum += if v.is_finite() { f64::from(v) } else { 0.0 };
                    *count += u64::from(v.is_finite());
                }
            }
        }
        sums.iter().sum::<f64>() / counts.iter().sum::<u64>() as f64
    }

    /// Number of selected frames N.
    pub fn n_frames(&self) -> usize {
        self.n
    }

    /// c2 of selected frames i < j; NaN = missing.
    #[inline]
    pub fn at(&self, i: usize, j: usize) -> f32 {
        debug_assert!(i < j && j < self.n);
        self.values[i * self.n + j]
    }

    /// Row i from column i + 1 to the end.
    #[inline]
    pub fn row_after(&self, i: usize) -> &[f32] {
        &self.values[i * self.n + i + 1..(i + 1) * self.n]
    }
}

/// Reads matrices of one layout.
pub(crate) trait MatrixReader: Send + Sync {
    /// Reads frames `frames` (from 0 in the file) of slot `slot` (an index into [`Dataset::slots`]) as they are stored into a matrix
    /// of their number.
    fn read(&self, slot: usize, frames: Range<usize>, into: &mut TwoTime) -> Result<()>;

    /// Bytes that reading these frames of a slot takes beside the matrix, as far as they aren't small: for chunks that are larger
    /// than what is selected of them, for instance.
    fn memory_beside(&self, _slot: usize, _frames: &Range<usize>) -> usize {
        0
    }

    /// What full decorrelation is in the file. Readers of files that hold c2 − 1 add the 1 to all but exact zeros, which
    /// may stand for nothing.
    fn baseline(&self) -> Baseline {
        Baseline::One
    }

    /// What may be behind a matrix of no use in this layout, for the end of the message; may be empty.
    fn hint(&self) -> &'static str {
        ""
    }

    /// Standard deviation of c2 by slot, where the file has it: positive numbers, checked.
    fn sigma(&self) -> Option<&[f64]> {
        None
    }

    /// Whether the file has σ of every entry of c2.
    fn has_sigma_by_pair(&self) -> bool {
        false
    }

    /// Reads σ of every entry as [`Self::read`] does c2; asked for only where the file has it.
    fn read_sigma(&self, _slot: usize, _frames: Range<usize>, _into: &mut TwoTime) -> Result<()> {
        Ok(())
    }
}

/// An opened file with its selection made.
pub struct Dataset {
    /// The file.
    pub file: PathBuf,
    /// By what it is known when it is opened again, here or by another rank.
    pub identity: FileIdentity,
    /// Its layout.
    pub layout: Layout,
    /// All matrices found, in the order of the file.
    pub slots: Vec<Slot>,
    /// Indices into `slots` of the selected ones, in the order of the file.
    pub selected: Vec<usize>,
    /// Wavevector magnitude of the model, Å⁻¹: that of the selected matrices (on average, where bins have their own), or as
    /// configured ([`QFrom`]); NaN where inspection shows several rings.
    pub q: f64,
    /// Where `q` came from, for people.
    pub q_source: String,
    /// Time between frames in use, s; NaN where inspection found none.
    pub dt: f64,
    /// Where `dt` came from, for people.
    pub dt_source: String,
    /// Gap in the file, Å, where the layout has one.
    pub gap: Option<f64>,
    /// Frames in the file.
    pub n_file_frames: usize,
    /// First selected frame, from 0.
    pub first_frame: usize,
    /// Number of selected frames N.
    pub n_frames: usize,
    /// Frames of the measurement before the file's first, where the file says that it was cut.
    pub frames_before: usize,
    /// Frames that the correlator passed over before these, which have no numbers: time that has gone by.
    pub skipped: usize,
    /// Frames and lags that the configuration leaves out.
    pub left_out: LeftOut,
    /// Whether the halves of a full matrix are compared when it is read.
    pub compare_halves: bool,
    /// One line per thing a user should know: how bins were mapped, how far q is, what was clamped.
    pub notes: Vec<String>,
    /// The same for things that may be wrong; also logged as warnings.
    pub warnings: Vec<String>,
    pub(crate) reader: Box<dyn MatrixReader>,
}

impl std::fmt::Debug for Dataset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dataset")
            .field("file", &self.file)
            .field("layout", &self.layout)
            .field("selected", &self.selected)
            .finish_non_exhaustive()
    }
}

impl Dataset {
    /// Standard deviation of c2 in each selected matrix, where the file has it.
    pub fn sigma(&self) -> Option<Vec<f64>> {
        let all = self.reader.sigma()?;
        Some(self.selected.iter().map(|&s| all[s]).collect())
    }

    /// Bytes that reading one of the selected matrices takes beside its values, as far as they aren't small.
    pub fn memory_beside(&self) -> f64 {
        let frames = self.frames();
        let largest = self.selected.iter().map(|&slot| self.reader.memory_beside(slot, &frames)).max();
        largest.unwrap_or(0) as f64
    }

    /// Bytes that reading one of the selected matrices takes.
    pub fn memory(&self) -> f64 {
        let values = (self.n_frames as f64).powi(2);
        let band = (bands::BAND as f64).min(values * size_of::<f64>() as f64);
        values * size_of::<f32>() as f64 + band + self.memory_beside()
    }

    /// The selected frames, from 0 in the file.
    fn frames(&self) -> Range<usize> {
        self.first_frame..self.first_frame + self.n_frames
    }

    /// φ of the selected matrices, degree.
    pub fn phi(&self) -> Vec<f64> {
        self.selected.iter().map(|&s| self.slots[s].phi).collect()
    }
}
