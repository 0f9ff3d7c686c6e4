//! Files in layouts of others, written by h5py and NumPy.

mod aps_matlab;
mod aps_old;
mod chx;
mod convert;
mod esrf_id02;
mod euxfel;
mod golden;
mod npz;
mod nxxpcs;
mod shapes;
mod storage;
mod support;
