//! Writing two-time files, in the layouts that others and we read: whole or not at all.

use std::path::Path;

use hdf5::types::VarLenUnicode;
use hdf5::{Group, H5Type, Hyperslab};
use ndarray::{ArrayView2, ArrayView3};

use super::whole::mirror;
use super::{Layout, TwoTime};
use crate::error::hdf5_reason;
use crate::{Error, Result, files};

/// Arrays of more elements than this are compressed by boost_corr.
const COMPRESS_ABOVE: usize = 8192;
/// Longest side of a chunk that boost_corr writes.
const MAX_CHUNK_SIDE: usize = 16384;
/// Bytes in a row block of the native layout: HDF5's chunk cache holds one.
const ROW_BLOCK: usize = 1 << 20;

/// What a file is about, apart from its matrices.
#[derive(Debug, Clone, PartialEq)]
pub struct WriteSpec<'a> {
    /// How the file is laid out.
    pub layout: Layout,
    /// Wavevector magnitude, Å⁻¹.
    pub q: f64,
    /// Time between frames, s; NaN = not known, and the file doesn't say.
    pub dt: f64,
    /// Gap of the shear cell, Å; the APS-U layout has no place for it.
    pub gap: Option<f64>,
    /// σ of every matrix; the APS-U layout has no place for it.
    pub sigma: Option<&'a [f64]>,
    /// Azimuthal angle of every matrix, degree.
    pub phi: &'a [f64],
    /// Number of frames N.
    pub n_frames: usize,
    /// Number of the first of them in the measurement, from 1; the APS-U layout has no place for it.
    pub first_frame: usize,
    /// gzip level of the matrices in the native layout, 0 = not compressed.
    pub gzip: u8,
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

/// Writes a file, calling `fill` once for every angle, in order.
///
/// `fill` gets the angle and a zeroed N × N matrix (row-major) whose upper triangle, diagonal included, it fills. The
/// buffer is the only matrix in memory. The file is written under another name in the same folder, synced and renamed:
/// on failure ([`Error::Io`], [`Error::Memory`]) nothing is left behind and an older file of that name stays.
pub fn write_file(path: &Path, spec: &WriteSpec, mut fill: impl FnMut(usize, &mut [f32])) -> Result<()> {
    // before there is a file: where memory ends, the kernel may leave no time to take it away
    let mut matrix = TwoTime::default();
    matrix.resize(spec.n_frames)?;
    write_from(path, spec, matrix, |angle, matrix| {
        matrix.values.fill(0.0);
        fill(angle, &mut matrix.values);
        Ok(())
    })
}

/// The same with the caller's buffer, which `fill` may exchange for another of that size. What `fill` leaves below the
/// diagonal means nothing; its error ends writing and is passed on.
pub fn write_from(
    path: &Path,
    spec: &WriteSpec,
    mut matrix: TwoTime,
    mut fill: impl FnMut(usize, &mut TwoTime) -> Result<()>,
) -> Result<()> {
    let write = match spec.layout {
        Layout::ApsU => write_aps_u,
        Layout::Native => write_native,
        other => return Err(Error::Usage(format!("files of the {} layout are read, but not written", other.name()))),
    };
    let mut failed = None;
    let written = files::replace(path, |file| {
        let mut fill = |angle: usize, matrix: &mut TwoTime| {
            fill(angle, matrix).map_err(|error| {
                failed = Some(error);
                hdf5::Error::Internal("there is nothing to write".to_owned())
            })
        };
        let mut work = || -> hdf5::Result<()> {
            let file = hdf5::File::create(files::name_of(file))?;
            write(&file, spec, &mut matrix, &mut fill)?;
            // dropping the handle would hide what goes wrong here, a full disk for one
            file.flush()?;
            file.close()
        };
        work().map_err(hdf5_reason)
    });
    failed.map_or(written, Err)
}

/// Puts the matrix of an angle into the buffer.
type Fill<'a> = &'a mut dyn FnMut(usize, &mut TwoTime) -> hdf5::Result<()>;

fn write_aps_u(file: &hdf5::File, spec: &WriteSpec, matrix: &mut TwoTime, fill: Fill) -> hdf5::Result<()> {
    let n = spec.n_frames;
    let n_phi = spec.phi.len() as i64;
    if !spec.dt.is_nan() {
        let detector = group(file, "entry/instrument/detector_1")?;
        scalar(&detector, "frame_time", spec.dt)?;
    }
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
        fill(angle, matrix)?;
        (1..n).for_each(|i| matrix.values[i * n..i * n + i].fill(0.0));
        let builder = map.new_dataset_builder();
        let side = n.min(MAX_CHUNK_SIDE);
        let builder = if n * n > COMPRESS_ABOVE { builder.chunk((side, side)).lzf() } else { builder };
        let view = ArrayView2::from_shape((n, n), &matrix.values)?;
        builder.with_data(view).create(format!("c2_{:05}", angle + 1).as_str())?;
    }
    Ok(())
}

fn write_native(file: &hdf5::File, spec: &WriteSpec, matrix: &mut TwoTime, fill: Fill) -> hdf5::Result<()> {
    let (n, n_phi) = (spec.n_frames, spec.phi.len());
    file.new_dataset_builder().with_data(spec.phi).create("phi")?;
    let dt = (!spec.dt.is_nan()).then_some(spec.dt);
    let attributes = [("q", Some(spec.q)), ("dt", dt), ("gap", spec.gap)];
    for (name, value) in attributes {
        if let Some(value) = value {
            file.new_attr::<f64>().create(name)?.write_scalar(&value)?;
        }
    }
    if spec.first_frame > 1 {
        file.new_attr::<u64>().create("first_frame")?.write_scalar(&(spec.first_frame as u64))?;
    }
    if let Some(sigma) = spec.sigma {
        file.new_dataset_builder().with_data(sigma).create("sigma")?;
    }
    let rows = (ROW_BLOCK / (4 * n)).clamp(1, n);
    let builder = file.new_dataset::<f32>().chunk((1, rows, n));
    let builder = if spec.gzip > 0 { builder.shuffle().deflate(spec.gzip) } else { builder };
    let c2 = builder.shape((n_phi, n, n)).create("c2")?;
    for angle in 0..n_phi {
        fill(angle, matrix)?;
        mirror(&mut matrix.values, n);
        let view = ArrayView3::from_shape((1, n, n), &matrix.values)?;
        c2.write_slice(view, Hyperslab::from((angle..angle + 1, .., ..)))?;
    }
    Ok(())
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
