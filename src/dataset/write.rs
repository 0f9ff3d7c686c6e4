//! Writing two-time files, in the layouts that others and we read: whole or not at all.

use std::path::Path;

use hdf5::types::VarLenUnicode;
use hdf5::{Group, H5Type, Hyperslab};
use ndarray::{ArrayView2, ArrayView3};

use super::Layout;
use crate::error::hdf5_reason;
use crate::{Error, Result, files};

/// Arrays of more elements than this are compressed by boost_corr.
const COMPRESS_ABOVE: usize = 8192;
/// Longest side of a chunk that boost_corr writes.
const MAX_CHUNK_SIDE: usize = 16384;
/// Bytes in a row block of the native layout: HDF5's chunk cache holds one.
const ROW_BLOCK: usize = 1 << 20;
/// Side of the blocks in which the upper triangle is mirrored.
const BLOCK: usize = 32;

/// What a file is about, apart from its matrices.
#[derive(Debug, Clone, PartialEq)]
pub struct WriteSpec<'a> {
    /// How the file is laid out.
    pub layout: Layout,
    /// Wavevector magnitude, Å⁻¹.
    pub q: f64,
    /// Time between frames, s.
    pub dt: f64,
    /// Gap of the shear cell, Å; the APS-U layout has no place for it.
    pub gap: Option<f64>,
    /// Azimuthal angle of every matrix, degree.
    pub phi: &'a [f64],
    /// Number of frames N.
    pub n_frames: usize,
}

impl WriteSpec<'_> {
    /// Memory that writing takes, bytes: one matrix, and where HDF5 packs chunks one as it is and one packed.
    pub fn memory(&self) -> f64 {
        let n = self.n_frames as f64;
        let packing = match self.layout {
            Layout::ApsU => 2.0 * n.min(MAX_CHUNK_SIDE as f64).powi(2),
            _ => 0.0,
        };
        4.0 * (n * n + packing)
    }
}

/// A matrix of zeros.
///
/// # Errors
/// [`Error::Memory`] where there is no room for it.
fn zeros(n: usize) -> Result<Vec<f32>> {
    let mut matrix = Vec::new();
    let room = n.checked_mul(n).is_some_and(|entries| matrix.try_reserve_exact(entries).is_ok());
    if !room {
        return Err(Error::Memory(format!("there is no room for a matrix of {n} × {n} values; make fewer frames")));
    }
    matrix.resize(n * n, 0.0);
    Ok(matrix)
}

/// Writes a file, calling `fill` once for every angle, in order.
///
/// `fill` gets the angle and a zeroed N × N matrix (row-major) whose upper triangle, diagonal included, it fills. The
/// buffer is the only matrix in memory. The file is written under another name in the same folder, synced and renamed:
/// on failure ([`Error::Io`], [`Error::Memory`]) nothing is left behind and an older file of that name stays.
pub fn write_file(path: &Path, spec: &WriteSpec, fill: impl FnMut(usize, &mut [f32])) -> Result<()> {
    if !matches!(spec.layout, Layout::ApsU | Layout::Native) {
        return Err(Error::Usage(format!("files of the {} layout are read, but not written", spec.layout.name())));
    }
    // before there is a file: where memory ends, the kernel may leave no time to take it away
    let mut matrix = zeros(spec.n_frames)?;
    files::replace(path, |temporary| {
        let fill = || -> hdf5::Result<()> {
            let file = hdf5::File::create(temporary)?;
            match spec.layout {
                Layout::ApsU => write_aps_u(&file, spec, &mut matrix, fill)?,
                _ => write_native(&file, spec, &mut matrix, fill)?,
            }
            // dropping the handle would hide what goes wrong here, a full disk for one
            file.flush()?;
            file.close()
        };
        fill().map_err(hdf5_reason)
    })
}

fn write_aps_u(
    file: &hdf5::File,
    spec: &WriteSpec,
    matrix: &mut [f32],
    mut fill: impl FnMut(usize, &mut [f32]),
) -> hdf5::Result<()> {
    let n = spec.n_frames;
    let n_phi = spec.phi.len() as i64;
    let detector = group(file, "entry/instrument/detector_1")?;
    scalar(&detector, "frame_time", spec.dt)?;
    let qmap = group(file, "xpcs/qmap")?;
    list(&qmap, "dynamic_index_mapping", &(0..n_phi).collect::<Vec<_>>())?;
    list(&qmap, "dynamic_num_pts", &[1, n_phi])?;
    values_of_map(&qmap, "dynamic_v_list_dim0", &[spec.q], "q", "Å⁻¹")?;
    values_of_map(&qmap, "dynamic_v_list_dim1", spec.phi, "phi", "deg")?;
    list(&qmap, "map_names", &[unicode("q"), unicode("phi")])?;
    list(&qmap, "map_units", &[unicode("Å⁻¹"), unicode("deg")])?;
    let twotime = group(file, "xpcs/twotime")?;
    list(&twotime, "processed_bins", &(1..=n_phi).collect::<Vec<_>>())?;
    let config = group(&twotime, "config")?;
    scalar(&config, "stride_frame", 1_i64)?;
    scalar(&config, "avg_frame", 1_i64)?;

    let map = group(&twotime, "correlation_map")?;
    for angle in 0..spec.phi.len() {
        matrix.fill(0.0);
        fill(angle, matrix);
        let builder = map.new_dataset_builder();
        let side = n.min(MAX_CHUNK_SIDE);
        let builder = if n * n > COMPRESS_ABOVE { builder.chunk((side, side)).lzf() } else { builder };
        let view = ArrayView2::from_shape((n, n), &*matrix)?;
        builder.with_data(view).create(format!("c2_{:05}", angle + 1).as_str())?;
    }
    Ok(())
}

fn write_native(
    file: &hdf5::File,
    spec: &WriteSpec,
    matrix: &mut [f32],
    mut fill: impl FnMut(usize, &mut [f32]),
) -> hdf5::Result<()> {
    let (n, n_phi) = (spec.n_frames, spec.phi.len());
    file.new_dataset_builder().with_data(spec.phi).create("phi")?;
    let attributes = [("q", Some(spec.q)), ("dt", Some(spec.dt)), ("gap", spec.gap)];
    for (name, value) in attributes {
        if let Some(value) = value {
            file.new_attr::<f64>().create(name)?.write_scalar(&value)?;
        }
    }
    let rows = (ROW_BLOCK / (4 * n)).clamp(1, n);
    let c2 = file.new_dataset::<f32>().chunk((1, rows, n)).shape((n_phi, n, n)).create("c2")?;
    for angle in 0..n_phi {
        matrix.fill(0.0);
        fill(angle, matrix);
        mirror(matrix, n);
        let view = ArrayView3::from_shape((1, n, n), &*matrix)?;
        c2.write_slice(view, Hyperslab::from((angle..angle + 1, .., ..)))?;
    }
    Ok(())
}

/// Copies the upper triangle into the lower one.
fn mirror(v: &mut [f32], n: usize) {
    for i0 in (0..n).step_by(BLOCK) {
        for j0 in (0..=i0).step_by(BLOCK) {
            for i in i0..(i0 + BLOCK).min(n) {
                for j in j0..(j0 + BLOCK).min(i) {
                    v[i * n + j] = v[j * n + i];
                }
            }
        }
    }
}

/// Opens or makes a group of several levels.
fn group(parent: &Group, path: &str) -> hdf5::Result<Group> {
    path.split('/').try_fold(parent.clone(), |parent, name| {
        if parent.link_exists(name) { parent.group(name) } else { parent.create_group(name) }
    })
}

fn scalar<T: H5Type>(group: &Group, name: &str, value: T) -> hdf5::Result<()> {
    group.new_dataset::<T>().create(name)?.write_scalar(&value)
}

fn list<T: H5Type>(group: &Group, name: &str, values: &[T]) -> hdf5::Result<hdf5::Dataset> {
    group.new_dataset_builder().with_data(values).create(name)
}

fn values_of_map(group: &Group, name: &str, values: &[f64], quantity: &str, unit: &str) -> hdf5::Result<()> {
    let dataset = list(group, name, values)?;
    dataset.new_attr::<VarLenUnicode>().create("name")?.write_scalar(&unicode(quantity))?;
    dataset.new_attr::<VarLenUnicode>().create("unit")?.write_scalar(&unicode(unit))?;
    dataset.new_attr::<i64>().create("size")?.write_scalar(&(values.len() as i64))
}

fn unicode(text: &str) -> VarLenUnicode {
    text.parse().expect("text without NUL")
}
