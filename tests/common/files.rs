//! Configurations and data files made for a test.

use std::path::Path;

use hdf5::types::VarLenUnicode;
use ndarray::Array2;

use super::{alone, alone_with_files};

/// A static fit of a file in the working directory.
pub fn static_config(data: &str) -> String {
    format!(
        "analysis_mode: static\n\
         analyzer_parameters:\n  dt: 0.1\n  start_frame: 1\n  end_frame: -1\n  scattering:\n    wavevector_q: 0.0054\n\
         experimental_data:\n  file_path: {data}\n"
    )
}

/// A fit under shear of a file in the working directory.
pub fn flow_config(data: &str) -> String {
    static_config(data)
        .replace("mode: static", "mode: laminar_flow")
        .replace("experimental_data", "  geometry:\n    stator_rotor_gap: 2000000.0\nexperimental_data")
}

/// What `simulate` is to make.
pub struct Sample {
    pub mode: &'static str,
    pub frames: usize,
    pub angles: &'static [f64],
    pub noise: f64,
    /// In the order of the program.
    pub parameters: &'static [f64],
}

impl Sample {
    /// Four angles under moderate shear, small enough for many fits.
    pub const FLOW: Self = Self {
        mode: "laminar_flow",
        frames: 220,
        angles: &[-60.0, 0.0, 30.0, 90.0],
        noise: 0.01,
        parameters: &[6000.0, -0.4, 500.0, 0.0012, -0.3, 0.0002, 3.0],
    };

    /// The same for a static sample, tiny.
    pub const STILL: Self =
        Self { mode: "static", frames: 60, angles: &[0.0, 90.0], noise: 0.01, parameters: &[2e4, -0.4, 500.0] };

    /// Has the program write `data.hdf`, its truth and a configuration `config.yaml` that fits it.
    #[track_caller]
    pub fn make(&self, folder: &Path) {
        self.make_as(folder, "aps-u");
    }

    /// The same in a layout of choice.
    #[track_caller]
    pub fn make_as(&self, folder: &Path, layout: &str) {
        const NAMES: [&str; 7] = ["D0", "alpha", "D_offset", "gamma_dot_t0", "beta", "gamma_dot_t_offset", "phi0"];
        let config = if self.mode == "laminar_flow" { flow_config("data.hdf") } else { static_config("data.hdf") };
        let parameters: Vec<String> =
            NAMES.iter().zip(self.parameters).map(|(name, value)| format!("{name}: {value:?}")).collect();
        let simulation = format!(
            "simulation: {{frames: {}, angles: {:?}, noise: {:?}, seed: 11, contrast: 0.3, offset: 1.0, parameters: {{{}}}}}\n",
            self.frames,
            self.angles,
            self.noise,
            parameters.join(", ")
        );
        std::fs::write(folder.join("config.yaml"), format!("{config}{simulation}")).unwrap();
        // an earlier sample isn't written over unasked
        ["data.hdf", "data_truth.json"].iter().for_each(|name| drop(std::fs::remove_file(folder.join(name))));
        alone(folder, &["simulate", "--config", "config.yaml", "--out", "data.hdf", "--layout", layout]).success();
    }
}

/// An APS-U file as the facility's correlator lays it out: two q rings, three angles, bins 4, 5, 6 (the second ring).
pub struct ApsU {
    pub n_frames: usize,
    pub q: Vec<f64>,
    pub phi: Vec<f64>,
}

impl Default for ApsU {
    fn default() -> Self {
        Self { n_frames: 24, q: vec![0.0027, 0.0054], phi: vec![0.0, 45.0, 90.0] }
    }
}

/// Where the matrices are.
pub const MAP: &str = "xpcs/twotime/correlation_map";

impl ApsU {
    /// Writes the file.
    pub fn write(&self, file: &Path) {
        alone_with_files(|| self.fill(&hdf5::File::create(file).unwrap()));
    }

    fn fill(&self, h5: &hdf5::File) {
        let put = |path: &str, v: &[f64]| drop(h5.new_dataset_builder().with_data(v).create(path).unwrap());
        put("xpcs/qmap/dynamic_v_list_dim0", &self.q);
        put("xpcs/qmap/dynamic_v_list_dim1", &self.phi);
        let names: Vec<VarLenUnicode> = ["q", "phi"].iter().map(|n| n.parse().unwrap()).collect();
        h5.new_dataset_builder().with_data(&names).create("xpcs/qmap/map_names").unwrap();
        h5.new_dataset_builder().with_data(&[4_i64, 5, 6]).create("xpcs/twotime/processed_bins").unwrap();
        let frame_time = h5.new_dataset::<f64>().create("entry/instrument/detector_1/frame_time").unwrap();
        frame_time.write_scalar(&0.1).unwrap();
        for slot in 0..3 {
            put_matrix(h5, slot, self.n_frames, c2);
        }
    }
}

/// Changes a file.
pub fn change(file: &Path, change: impl FnOnce(&hdf5::File)) {
    alone_with_files(|| {
        let h5 = hdf5::File::open_rw(file).unwrap();
        change(&h5);
        h5.close().unwrap();
    });
}

/// A decay that a static fit can find, with something like noise.
pub fn c2(i: usize, j: usize) -> f32 {
    let wiggle = ((i * 37 + j * 101) % 17) as f32 / 17.0 - 0.5;
    if i <= j { 1.0 + 0.3 * (-0.05 * (j - i) as f32).exp() + 0.01 * wiggle } else { 0.0 }
}

/// Adds a float32 matrix, in place of one that is there.
pub fn put_matrix(h5: &hdf5::File, slot: usize, n: usize, c2: impl Fn(usize, usize) -> f32) {
    let path = format!("{MAP}/c2_{:05}", slot + 1);
    if h5.link_exists(&path) {
        h5.unlink(&path).unwrap();
    }
    let matrix = Array2::from_shape_fn((n, n), |(i, j)| c2(i, j));
    h5.new_dataset_builder().with_data(&matrix).create(path.as_str()).unwrap();
}

/// Overwrites all that is stored of a matrix of an APS-U file, counted from 1.
pub fn destroy(path: &Path, matrix: usize) {
    let (at, size) = alone_with_files(|| {
        let file = hdf5::File::open(path).unwrap();
        let c2 = file.dataset(&format!("xpcs/twotime/correlation_map/c2_{matrix:05}")).unwrap();
        let chunk = c2.chunk_info(0).unwrap();
        (chunk.addr as usize, chunk.size as usize)
    });
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at..at + size].fill(0xff);
    std::fs::write(path, bytes).unwrap();
}
