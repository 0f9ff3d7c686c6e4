//! Files in layouts of others, written by h5py and NumPy.

mod aps_old;
mod convert;
mod golden;
mod npz;
#[path = "../common/python.rs"]
mod python;
mod support;
