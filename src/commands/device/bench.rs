//! `device bench`: the CPU against a GPU.

use std::io::Write;
use std::path::Path;

use serde_json::json;

use super::open;
use crate::arithmetic::selected_instruction_set;
use crate::benchmark::{self, Comparison, Extent, Sample};
use crate::cluster::MemoryLimit;
use crate::commands::benchmark::{rate, time};
use crate::commands::heard;
use crate::gram::gpu;
use crate::output::Table;
use crate::version::NAME_AND_VERSION;
use crate::{Result, files};

/// Does the same work on the CPU and, where there is one, on a GPU; prints a table on `out` and writes `json`.
///
/// # Errors
/// Too little memory, a number of threads that can't be started, a GPU that fails, a file that can't be written.
pub fn bench(threads: Option<usize>, extent: Extent, json: Option<&Path>, out: &mut impl Write) -> Result<()> {
    MemoryLimit::find(None, 1)?.check_for(Sample::bytes(extent.shape), "the benchmark needs", "try `--quick`")?;
    let threads = threads.unwrap_or_else(benchmark::cores);
    let no_gpu = gpu::available().err();
    let gpu = if no_gpu.is_none() { Some(open()?) } else { None };
    let name = gpu.as_ref().map(|(device, _)| device.name());
    let rows = benchmark::compare(extent, threads, gpu)?;
    if let Some(path) = json {
        let value = json!({
            "program": NAME_AND_VERSION,
            "processor": benchmark::processor(),
            "instruction_set": selected_instruction_set()?,
            "threads": threads,
            "gpu": name,
            "no_gpu_because": no_gpu,
            "frames": extent.shape.0,
            "angles": extent.shape.1,
            "rows": rows.iter().map(Comparison::json).collect::<Vec<_>>(),
        });
        let text = format!("{value:#}\n");
        files::write(path, &text)?;
    }
    let cpu = format!("{}, {threads} thread(s), {}", benchmark::processor(), selected_instruction_set()?);
    heard(print((&cpu, name.as_deref(), no_gpu.as_deref()), extent, &rows, out))
}

fn print(
    (cpu, gpu, no_gpu): (&str, Option<&str>, Option<&str>),
    extent: Extent,
    rows: &[Comparison],
    out: &mut impl Write,
) -> std::io::Result<()> {
    let (frames, angles) = extent.shape;
    writeln!(out, "Data: {angles} angles of {frames} frames, laminar flow")?;
    writeln!(out, "CPU:  {cpu}")?;
    match (gpu, no_gpu) {
        (Some(name), _) => writeln!(out, "GPU:  {name}")?,
        (_, reason) => writeln!(out, "GPU:  none, {}", reason.unwrap_or_default())?,
    }
    writeln!(out)?;
    let header = ["work", "precision", "pairs", "CPU", "", "GPU", "", "kernels", "speed-up", "expected"];
    let mut table = Table::new(&header, &[0, 1]);
    let nothing = || "-".to_owned();
    for row in rows {
        let gpu = row.gpu.as_ref();
        table.row([
            row.what.to_owned(),
            row.precision.name().to_owned(),
            format!("{:.3} M", row.pairs / 1e6),
            time(row.cpu.best()),
            rate(row.pairs / row.cpu.best(), " pairs"),
            gpu.map_or_else(nothing, |(gpu, _)| time(gpu.best())),
            gpu.map_or_else(nothing, |(gpu, _)| rate(row.pairs / gpu.best(), " pairs")),
            gpu.map_or_else(nothing, |(_, kernels)| time(*kernels)),
            row.speed_up().map_or_else(nothing, |ratio| format!("{ratio:.1}×")),
            row.expected.map_or_else(nothing, |(least, most)| format!("{least:.0}–{most:.0}×")),
        ]);
    }
    table.print(out)?;
    writeln!(out, "\n{LEGEND}")
}

const LEGEND: &str = "\
Best of several repetitions, CPU and GPU in turns. The model alone is formed on the CPU as for fitted_data.npz,
pair by pair in f64. Kernels: their time in a repetition by the device's clock; the rest is the host's.
Expected: what this program's specification expects of a GPU.";
