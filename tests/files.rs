//! Reading and writing data files and configurations from inside. A program of its own: what starts processes while an HDF5 file
//! is open would keep that file locked.

mod dataset;
mod golden_vectors;
mod layouts;
mod properties;
#[path = "common/python.rs"]
mod python;
