//! `device check`: whether a GPU computes what the CPU does, and how fast.

use std::io::Write;
use std::time::Instant;

use super::open;
use crate::benchmark::{self, Compared, Extent, Sample};
use crate::cluster::MemoryLimit;
use crate::commands::benchmark::{percent, rate};
use crate::commands::heard;
use crate::gram::gpu;
use crate::output::Table;
use crate::{Error, Result};

/// Random cases.
const CASES: usize = 40;
/// The same with `--quick`.
const FEW_CASES: usize = 6;
/// Passes of which the fastest counts.
const PASSES: usize = 5;

/// Compares the GPU with the CPU on random data, times its kernels, and prints both on `out`. Without a seed the data are made up
/// anew.
///
/// # Errors
/// [`Error::Device`] where there is no GPU, where it fails, and where it computes something else than the CPU.
pub fn check(seed: Option<u64>, quick: bool, out: &mut impl Write) -> Result<()> {
    gpu::available().map_err(|message| Error::Device { name: "GPU".into(), message })?;
    let extent = if quick { Extent::QUICK } else { Extent::WHOLE };
    MemoryLimit::find(None, 1)?.check_for(Sample::bytes(extent.shape), "the check needs", "try `--quick`")?;
    let begin = Instant::now();
    let name = open()?.0.name();
    // there is none of an emulated one
    let info = gpu::devices().ok().and_then(|all| all.into_iter().next());
    let seed = seed.unwrap_or_else(rand::random);
    let say = |out: &mut dyn Write, text: String| heard(writeln!(out, "{text}").and_then(|()| out.flush()));
    say(out, name.clone())?;
    if let Some(info) = &info {
        let (clock, multiprocessors) = (info.clock / 1e9, info.multiprocessors);
        say(out, format!("{multiprocessors} multiprocessors, at most {clock:.2} GHz"))?;
    }
    let cases = if quick { FEW_CASES } else { CASES };
    say(out, format!("\nAgainst the CPU, {cases} random cases (--seed {seed} for the same again)"))?;
    let compared = benchmark::check(&open, seed, cases)?;
    heard(differences(&compared, out))?;
    let (frames, angles) = extent.shape;
    say(out, format!("\nKernels, {angles} angles of {frames} frames, by the device's clock"))?;
    let speeds = benchmark::speeds(&open, info.as_ref(), extent.shape, PASSES)?;
    let mut table = Table::new(&["kernel", "speed", "limit", "achieved"], &[0]);
    let unknown = || "unknown".to_owned();
    for speed in &speeds {
        table.row([
            speed.kernel.to_owned(),
            rate(speed.rate, " pairs"),
            speed.limit.map_or_else(unknown, |limit| rate(limit, " pairs")),
            speed.limit.map_or_else(unknown, |limit| percent(speed.rate / limit)),
        ]);
    }
    heard(table.print(out))?;
    say(out, format!("\n{LEGEND}\n\nDone in {:.1} s.", begin.elapsed().as_secs_f64()))?;
    let wrong: Vec<&str> = compared.iter().filter(|own| !own.holds()).map(|own| own.what).collect();
    if wrong.is_empty() {
        return Ok(());
    }
    let message = format!("it doesn't compute what the CPU does ({}); please report this", wrong.join(", "));
    Err(Error::Device { name, message })
}

fn differences(compared: &[Compared], out: &mut impl Write) -> std::io::Result<()> {
    let mut table = Table::new(&["what", "times", "off by", "allowed", ""], &[0, 4]);
    for own in compared {
        table.row([
            own.what.to_owned(),
            own.n.to_string(),
            format!("{:.1e}", own.worst),
            format!("{:.1e}", own.allowed),
            (if own.holds() { "good" } else { "WRONG" }).to_owned(),
        ]);
    }
    table.print(out)
}

const LEGEND: &str = "\
Sums differ in units of √(G_aa·G_bb). Limit: the instructions that the device could begin in a second at its
highest clock, over those of a pair (docs/gpu.md counts them).";
