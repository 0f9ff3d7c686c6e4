//! The engine on a device: what lies there, what is sent when, how sums come back.
//!
//! All pairs of a rank lie there. Beside c2 itself a device holds, per tile, 40 bytes that say what it is and 448 bytes of sums for every
//! point of a launch, and the integrals of the points, 128 bytes a frame. Where the pairs find no room the CPU's nodes serve.

use bytemuck::{bytes_of, cast_slice, cast_slice_mut};

use super::super::{CpuEngine, ENTRIES, Gram, Pass, Point, Shard, tree};
use super::arguments::{self, Angle, INTEGRALS, Node, SUMS, TREE_THREADS, Tile, Trees};
use super::device::{Address, Device, Fault, Launch, Outcome, Usage};
use super::launches::{Kernel, MOST_BLOCKS, angles, axis, loss_number};
use crate::arithmetic::{LANES, Lane};
use crate::{Error, Result};

/// From strips to tiles, to neighbouring tiles, to all of a node.
const STEPS: usize = 3;
/// Neighbours that one thread adds; larger nodes are completed in two steps.
const CHAIN: usize = 64;
/// Share of the budget for what points need: integrals and sums.
const FOR_POINTS: usize = 8;

/// Memory that grows when it must.
#[derive(Debug, Clone, Copy, Default)]
struct Buffer {
    address: Address,
    bytes: usize,
}

/// What a level is on the device.
struct OnDevice {
    /// Its strips, and how many.
    strips: Buffer,
    n_strips: usize,
    /// c2, and σ of every pair where they have their own.
    data: Buffer,
    sigma: Buffer,
    /// The steps of completing trees: the nodes that each leaves, as they lie there, and how many.
    steps: [(Buffer, usize); STEPS],
}

/// Buffers for what comes with every pass.
#[derive(Default)]
struct Work {
    axis: Buffer,
    angles: Buffer,
    sums: Buffer,
    /// What the steps leave.
    steps: [Buffer; STEPS],
    values: Buffer,
}

/// The tiles of one rank on a device. Everything else belongs to the [engine of the host](CpuEngine) with which it is made and used.
pub struct GpuEngine<D: Device> {
    device: D,
    levels: Vec<OnDevice>,
    work: Work,
    /// Bytes that integrals and sums of the points of a launch may take.
    for_points: usize,
}

impl<D: Device> GpuEngine<D> {
    /// An engine for the tiles of the host's that uses up to `budget` bytes of a device.
    ///
    /// # Errors
    /// [`Error::Device`] where it fails or has too little memory.
    pub fn new(mut device: D, host: &CpuEngine, budget: usize) -> Result<Self> {
        let for_points = budget / FOR_POINTS;
        let shards = host.shards().iter();
        let bytes = shards.flat_map(|shard| [Some(&shard.store), shard.sigma.as_ref()]).flatten().map(|s| s.bytes());
        let bytes: usize = bytes.sum();
        if bytes > budget - for_points {
            return Err(told(&Fault::OutOfMemory { bytes }, &device));
        }
        let levels: Outcome<_> = host.shards().iter().map(|shard| prepare(&mut device, shard)).collect();
        match levels {
            Ok(levels) => Ok(Self { device, levels, work: Work::default(), for_points }),
            Err(fault) => Err(told(&fault, &device)),
        }
    }

    /// What the device is.
    pub fn name(&self) -> String {
        self.device.name()
    }

    /// The device.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// What it has been used for.
    pub fn usage(&self) -> Usage {
        self.device.usage()
    }

    /// Sums of the maximal nodes of a level's tiles, point after point, as [`super::super::Engine::evaluate`] gives them.
    ///
    /// # Errors
    /// [`Error::Device`] where the device fails.
    pub fn evaluate(&mut self, host: &CpuEngine, level: usize, points: &[Point], pass: Pass) -> Result<Vec<Gram>> {
        let per_point = {
            let own = &self.levels[level];
            let sums = own.n_strips + own.steps.iter().map(|(_, n)| n).sum::<usize>();
            let frames = host.shards()[level].level.frames.len();
            2 * 8 * INTEGRALS * frames + size_of::<Angle>() * host.experiment.n_angles() + SUMS * sums
        };
        let mut together = (self.for_points / per_point).clamp(1, points.len().max(1));
        let (mut out, mut done) = (Vec::new(), 0);
        while done < points.len() {
            let now = &points[done..points.len().min(done + together)];
            match self.together((host, level), now, pass) {
                Ok(sums) => {
                    out.extend(sums);
                    done += now.len();
                }
                Err(Fault::OutOfMemory { .. }) if together > 1 => {
                    together /= 2;
                    // from now on, too
                    self.for_points = together * per_point;
                    self.forget();
                    log::info!("{}: too little memory; fewer points at once", self.device.name());
                }
                Err(fault) => return Err(told(&fault, &self.device)),
            }
        }
        Ok(out)
    }

    /// Has the device form offset + contrast·g of every pair of a level; gives it in the order of the tiles held, as they are packed,
    /// where `wanted`. The values must find room there.
    ///
    /// # Errors
    /// [`Error::Device`] where the device fails.
    pub fn model(&mut self, host: &CpuEngine, level: usize, point: &Point, wanted: bool) -> Result<Vec<Lane>> {
        let done = self.form(host, level, point, wanted);
        done.map_err(|fault| told(&fault, &self.device))
    }

    fn form(&mut self, host: &CpuEngine, level: usize, point: &Point, wanted: bool) -> Outcome<Vec<Lane>> {
        let Self { device, levels, work, .. } = self;
        let own = &levels[level];
        let shard = &host.shards()[level];
        let bytes = shard.level.plan.lanes_of(&shard.range) * size_of::<Lane>();
        let mut argument = begin(device, work, (host, shard), std::slice::from_ref(point), (Pass::Chi2, own.n_strips))?;
        grow(device, &mut work.values, bytes)?;
        argument.values = work.values.address.0;
        (argument.tiles, argument.n_tiles) = (own.strips.address.0, own.n_strips as u32);
        Kernel::of_model(host).launch(device, argument)?;
        let mut values = Vec::new();
        if wanted {
            values.resize(bytes / size_of::<Lane>(), Lane([0.0; LANES]));
            device.download(work.values.address, cast_slice_mut(&mut values))?;
        }
        device.wait()?;
        Ok(values)
    }

    /// Gives back what comes with every pass.
    fn forget(&mut self) {
        let Work { axis, angles, sums, steps, values } = std::mem::take(&mut self.work);
        for buffer in [axis, angles, sums, values].into_iter().chain(steps).filter(|buffer| buffer.bytes > 0) {
            self.device.free(buffer.address);
        }
    }

    /// Points whose integrals and sums lie on the device at once.
    fn together(&mut self, (host, level): (&CpuEngine, usize), points: &[Point], pass: Pass) -> Outcome<Vec<Gram>> {
        let shard = &host.shards()[level];
        let own = &self.levels[level];
        let n_tiles = own.n_strips;
        if n_tiles == 0 {
            return Ok(Vec::new());
        }
        let Self { device, work, .. } = self;
        let mut argument = begin(device, work, (host, shard), points, (pass, n_tiles))?;
        grow(device, &mut work.sums, points.len() * n_tiles * SUMS)?;
        argument.sums = work.sums.address.0;
        argument.loss = loss_number(pass);
        (argument.data, argument.sigma) = (own.data.address.0, own.sigma.address.0);
        (argument.tiles, argument.n_tiles) = (own.strips.address.0, n_tiles as u32);
        Kernel::of(host, pass, shard.sigma.is_some()).launch(device, argument)?;
        let (mut from, mut n_from) = (work.sums, n_tiles);
        for ((jobs, n_jobs), into) in own.steps.iter().zip(&mut work.steps) {
            grow(device, into, points.len() * n_jobs * SUMS)?;
            let trees = Trees {
                from: from.address.0,
                into: into.address.0,
                nodes: jobs.address.0,
                n_nodes: *n_jobs as u32,
                n_points: points.len() as u32,
                n_from: n_from as u32,
                n_into: *n_jobs as u32,
            };
            let blocks = (*n_jobs as u64 * points.len() as u64).min(MOST_BLOCKS) as u32;
            let argument = bytes_of(&trees);
            device.launch(&Launch { kernel: "complete_trees", blocks, threads: TREE_THREADS, shared: 0, argument })?;
            (from, n_from) = (*into, *n_jobs);
        }
        let mut sums = vec![0.0f64; points.len() * n_from * ENTRIES];
        device.download(from.address, cast_slice_mut(&mut sums))?;
        let gram = |numbers: &[f64]| {
            let mut gram = Gram::default();
            gram.0.copy_from_slice(numbers);
            gram.keep(&pass.filled());
            gram
        };
        Ok(sums.chunks_exact(ENTRIES).map(gram).collect())
    }
}

/// Puts what a launch needs of the points on the device and begins to tell of it.
fn begin(
    device: &mut impl Device,
    work: &mut Work,
    (host, shard): (&CpuEngine, &Shard),
    points: &[Point],
    (pass, n_strips): (Pass, usize),
) -> Outcome<arguments::Pass> {
    let (axis, angles) = (axis(host, shard, points, pass), angles(host, points, pass));
    upload(device, &mut work.axis, cast_slice(&axis))?;
    upload(device, &mut work.angles, cast_slice(&angles))?;
    device.wait()?;
    Ok(arguments::Pass {
        axis: work.axis.address.0,
        angles: work.angles.address.0,
        k: host.experiment.diffusion_factor(),
        n_points: points.len() as u32,
        n_frames: shard.level.frames.len() as u32,
        n_angles: host.experiment.n_angles() as u32,
        n_slots: n_strips as u32,
        ..bytemuck::Zeroable::zeroed()
    })
}

/// An error with the name of the device.
fn told(fault: &Fault, device: &impl Device) -> Error {
    Error::Device { name: device.name(), message: fault.to_string() }
}

/// Makes a buffer hold so many bytes.
fn grow(device: &mut impl Device, buffer: &mut Buffer, bytes: usize) -> Outcome<()> {
    if bytes > buffer.bytes {
        if buffer.bytes > 0 {
            device.free(std::mem::take(buffer).address);
        }
        *buffer = Buffer { address: device.allocate(bytes)?, bytes };
    }
    Ok(())
}

/// The same with these.
fn upload(device: &mut impl Device, buffer: &mut Buffer, bytes: &[u8]) -> Outcome<()> {
    grow(device, buffer, bytes.len())?;
    if bytes.is_empty() { Ok(()) } else { device.upload(buffer.address, bytes) }
}

/// Puts a level on the device: its data, strips and trees.
fn prepare(device: &mut impl Device, shard: &Shard) -> Outcome<OnDevice> {
    let (plan, range) = (&shard.level.plan, &shard.range);
    let n = plan.per_angle();
    let (mut strips, mut tiles) = (Vec::new(), Vec::new());
    let mut lane = 0;
    for number in range.clone() {
        let first = strips.len();
        for strip in &plan.tiles[number % n].strips {
            strips.push(Tile::new(strip, lane, number / n, strips.len()));
            lane += strip.n_lanes;
        }
        let into = tiles.len() as u32;
        tiles.push(Node { first: first as u32, count: (strips.len() - first) as u32, into });
    }
    let (mut chains, mut nodes) = (Vec::new(), Vec::new());
    for angle in 0..plan.n_angles {
        for node in tree::owned_nodes(n, &plan.within_angle(range, angle), u32::MAX) {
            let own = node.tiles(n);
            let (first, into) = (chains.len(), nodes.len() as u32);
            for start in own.clone().step_by(CHAIN) {
                let count = CHAIN.min(own.end - start) as u32;
                let first = (angle * n + start - range.start) as u32;
                chains.push(Node { first, count, into: chains.len() as u32 });
            }
            nodes.push(Node { first: first as u32, count: (chains.len() - first) as u32, into });
        }
    }
    let mut put = |bytes: &[u8]| {
        let mut buffer = Buffer::default();
        upload(device, &mut buffer, bytes).map(|()| buffer)
    };
    let mut steps = [(Buffer::default(), 0); STEPS];
    for (step, nodes) in steps.iter_mut().zip([&tiles, &chains, &nodes]) {
        *step = (put(cast_slice(nodes))?, nodes.len());
    }
    let own = OnDevice {
        strips: put(cast_slice(&strips))?,
        n_strips: strips.len(),
        data: put(cast_slice(shard.store.lanes()))?,
        sigma: put(shard.sigma.as_ref().map_or(&[], |sigma| cast_slice(sigma.lanes())))?,
        steps,
    };
    device.wait()?;
    Ok(own)
}
