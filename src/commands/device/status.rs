//! `device status`: what this machine has to compute on, and which MPI the program was built with.

use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};

use crate::arithmetic::selected_instruction_set;
use crate::benchmark;
use crate::cluster::{GB, Library, MemoryLimit, Mpi, physical_memory};
use crate::gram::gpu::{self, DeviceInfo};
use crate::{Result, files};

/// Prints what this machine has, what ranks would use of it and what could be better; as JSON too where a file is named.
///
/// # Errors
/// [`crate::Error::Usage`] where `HOMODYNE_ISA` or `HOMODYNE_MEMORY_LIMIT` make no sense, [`crate::Error::Io`] where writing
/// fails.
pub fn status(mpi: Option<&Mpi>, json: Option<&Path>, out: &mut impl Write) -> Result<()> {
    let status = Status::find(mpi)?;
    if let Some(file) = json {
        let text = format!("{:#}\n", status.json());
        files::write(file, &text)?;
    }
    crate::commands::heard(status.print(out))
}

/// What there is.
struct Status {
    processor: String,
    cores: usize,
    instruction_set: &'static str,
    memory: f64,
    limit: MemoryLimit,
    /// The MPI that the program was built with.
    mpi: Option<Library>,
    /// Or why there are none.
    gpus: std::result::Result<Vec<DeviceInfo>, String>,
    /// NVRTC's version, or why there is none.
    nvrtc: std::result::Result<(i32, i32), String>,
}

impl Status {
    fn find(mpi: Option<&Mpi>) -> Result<Self> {
        Ok(Self {
            processor: benchmark::processor(),
            cores: benchmark::cores(),
            instruction_set: selected_instruction_set()?,
            memory: physical_memory().unwrap_or(0.0),
            limit: MemoryLimit::find(None, 1)?,
            mpi: mpi.map(Mpi::library),
            gpus: gpu::devices(),
            nvrtc: gpu::nvrtc_version(),
        })
    }

    /// What a user could do about it.
    fn recommendations(&self) -> Vec<String> {
        let mut out = Vec::new();
        if self.instruction_set == "portable" {
            out.push("this processor has neither AVX2 nor AVX-512, so passes take several times as long".into());
        }
        match (&self.gpus, &self.nvrtc) {
            (Ok(gpus), Ok(_)) => {
                out.push(format!("start {} rank(s) on this node, one a GPU: each rank takes the next one", gpus.len()));
            }
            (Ok(_), Err(reason)) => out.push(format!("the GPUs can't be used: {reason}")),
            (Err(_), _) => {
                out.push(format!("start one rank a socket or node with the cores as its threads, here {}", self.cores));
            }
        }
        out
    }

    fn json(&self) -> Value {
        let gpu = |(k, gpu): (usize, &DeviceInfo)| {
            json!({
                "number": k,
                "name": gpu.name,
                "memory_bytes": gpu.memory,
                "compute_capability": format!("{}.{}", gpu.capability.0, gpu.capability.1),
                "driver_cuda_version": format!("{}.{}", gpu.driver.0, gpu.driver.1),
            })
        };
        json!({
            "cpu": {
                "processor": self.processor,
                "cores": self.cores,
                "instruction_set": self.instruction_set,
                "memory_bytes": self.memory,
                "memory_limit_bytes": self.limit.bytes,
                "memory_limit_source": self.limit.source,
            },
            "mpi": self.mpi.as_ref().map(|mpi| json!({ "library": mpi.name, "srun_plugin": mpi.plugin })),
            "gpus": self.gpus.iter().flatten().enumerate().map(gpu).collect::<Vec<_>>(),
            "no_gpu_because": self.gpus.as_ref().err(),
            "nvrtc": self.nvrtc.as_ref().ok().map(|(major, minor)| format!("{major}.{minor}")),
            "recommendations": self.recommendations(),
        })
    }

    fn print(&self, out: &mut impl Write) -> std::io::Result<()> {
        writeln!(out, "Processor")?;
        writeln!(out, "  name             {}", self.processor)?;
        writeln!(out, "  cores            {} that this process may use", self.cores)?;
        writeln!(out, "  instruction set  {}", self.instruction_set)?;
        writeln!(out, "  memory           {:.1} GB", self.memory / GB)?;
        writeln!(out, "  limit of a run   {:.1} GB ({})", self.limit.bytes / GB, self.limit.source)?;
        writeln!(out, "\nMPI")?;
        match &self.mpi {
            Some(Library { name, plugin }) => writeln!(out, "  {name}: `srun --mpi={plugin}`, or its mpirun")?,
            None => writeln!(out, "  none: the program was built without it and is a single process")?,
        }
        writeln!(out, "\nGPUs")?;
        match &self.gpus {
            Ok(gpus) => {
                for (k, gpu) in gpus.iter().enumerate() {
                    let DeviceInfo { name, memory, capability: (a, b), driver: (c, d), .. } = gpu;
                    let memory = *memory as f64 / GB;
                    writeln!(
                        out,
                        "  {k}  {name}: {memory:.1} GB, compute capability {a}.{b}, driver for CUDA {c}.{d}"
                    )?;
                }
            }
            Err(reason) => writeln!(out, "  {reason}")?,
        }
        match &self.nvrtc {
            Ok((major, minor)) => writeln!(out, "  NVRTC {major}.{minor}")?,
            Err(reason) => writeln!(out, "  {reason}")?,
        }
        writeln!(out, "\nRecommended")?;
        self.recommendations().iter().try_for_each(|line| writeln!(out, "  {line}"))
    }
}
