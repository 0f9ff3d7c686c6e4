//! The engine on a device: what lies there, what is sent when, how sums come back.
//!
//! Beside c2 itself a device holds, per tile, 40 bytes that say what it is and 448 bytes of sums for every point of a launch,
//! and the integrals of the points, 128 bytes a frame. Levels lie there whole, coarse ones first, as long as the budget lasts;
//! of the others batches of tiles are sent in every pass: while one is gathered by the threads of the host another is on its way and a
//! third is worked on.

use std::ops::Range;

use bytemuck::{bytes_of, cast_slice, cast_slice_mut};

use super::super::{CpuEngine, ENTRIES, Gram, Pass, Point, Shard, tree};
use super::arguments::{self, Angle, INTEGRALS, Node, SUMS, TREE_THREADS, Trees};
use super::device::{Address, Device, Fault, Launch, Outcome, STREAMS, Usage};
use super::launches::{Kernel, MOST_BLOCKS, angles, axis, loss_number};
use super::tiles::Tiles;
use crate::arithmetic::{LANES, Lane};
use crate::{Error, Result};

/// From strips to tiles, to neighbouring tiles, to all of a node.
const STEPS: usize = 3;
/// Neighbours that one thread adds; larger nodes are completed in two steps.
const CHAIN: usize = 64;
/// Share of the budget for what points need: integrals and sums.
const FOR_POINTS: usize = 8;
/// Smallest batch that is tried when memory is short.
const SMALLEST_BATCH: usize = 1 << 16;
/// Largest: enough blocks for all of any device several times, and little beside the host's memory.
const LARGEST_BATCH: usize = 1 << 26;
/// Bytes of the host's memory from which batches are copied.
pub const STAGING: usize = STREAMS * LARGEST_BATCH;

/// Memory that grows when it must.
#[derive(Debug, Clone, Copy, Default)]
struct Buffer {
    address: Address,
    bytes: usize,
}

/// What a level is on the device.
struct OnDevice {
    order: Tiles,
    /// All tiles, as they lie there.
    tiles: Buffer,
    /// c2, and σ of every pair where they have their own, if they stay there.
    resident: Option<(Buffer, Buffer)>,
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
    batches: [(Buffer, Buffer); STREAMS],
    values: Buffer,
}

/// The tiles of one rank on a device. Everything else belongs to the [engine of the host](CpuEngine) with which it is made and used.
pub struct GpuEngine<D: Device> {
    device: D,
    levels: Vec<OnDevice>,
    work: Work,
    /// Bytes of a batch.
    batch: usize,
    /// Bytes that integrals and sums of the points of a launch may take.
    for_points: usize,
}

impl<D: Device> GpuEngine<D> {
    /// An engine for the tiles of the host's that uses up to `budget` bytes of a device.
    ///
    /// # Errors
    /// [`Error::Device`] where it fails or has too little memory even for batches.
    pub fn new(mut device: D, host: &CpuEngine, budget: usize) -> Result<Self> {
        let for_points = budget / FOR_POINTS;
        let mut room = budget - for_points;
        let mut levels = Vec::new();
        for shard in host.shards().iter().rev() {
            levels.push(prepare(&mut device, (host, shard), &mut room).map_err(|fault| told(&fault, &device))?);
        }
        levels.reverse();
        let batch = (room / (2 * STREAMS)).clamp(SMALLEST_BATCH, LARGEST_BATCH);
        Ok(Self { device, levels, work: Work::default(), batch, for_points })
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

    /// Whether a level lies on the device.
    pub fn holds(&self, level: usize) -> bool {
        self.levels[level].resident.is_some()
    }

    /// Sums of the maximal nodes of a level's tiles, point after point, as [`super::super::Engine::evaluate`] gives them.
    ///
    /// # Errors
    /// [`Error::Device`] where the device fails.
    pub fn evaluate(&mut self, host: &CpuEngine, level: usize, points: &[Point], pass: Pass) -> Result<Vec<Gram>> {
        let per_point = {
            let own = &self.levels[level];
            let sums = own.order.n_strips() + own.steps.iter().map(|(_, n)| n).sum::<usize>();
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
                Err(Fault::OutOfMemory { .. }) if together > 1 || self.batch > SMALLEST_BATCH => {
                    // as much less as can be
                    together = (together / 2).max(1);
                    self.batch = (self.batch / 2).max(SMALLEST_BATCH);
                    self.forget();
                    log::info!("{}: too little memory; batches are halved", self.device.name());
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
        let mut argument = begin(
            device,
            work,
            (host, &host.shards()[level]),
            std::slice::from_ref(point),
            (Pass::Chi2, own.order.n_strips()),
        )?;
        grow(device, &mut work.values, own.order.bytes())?;
        argument.values = work.values.address.0;
        (argument.tiles, argument.n_tiles) = (own.tiles.address.0, own.order.n_strips() as u32);
        Kernel::of_model(host).launch(device, argument, 0)?;
        let mut values = Vec::new();
        if wanted {
            values.resize(own.order.bytes() / size_of::<Lane>(), Lane([0.0; LANES]));
            device.download(work.values.address, cast_slice_mut(&mut values), 0)?;
        }
        device.wait(0)?;
        Ok(values)
    }

    /// Gives back what comes with every pass.
    fn forget(&mut self) {
        let Work { axis, angles, sums, steps, batches, values } = std::mem::take(&mut self.work);
        let batches = batches.into_iter().flat_map(|(data, sigma)| [data, sigma]);
        for buffer in
            [axis, angles, sums, values].into_iter().chain(steps).chain(batches).filter(|buffer| buffer.bytes > 0)
        {
            self.device.free(buffer.address);
        }
    }

    /// Points whose integrals and sums lie on the device at once.
    fn together(&mut self, (host, level): (&CpuEngine, usize), points: &[Point], pass: Pass) -> Outcome<Vec<Gram>> {
        let shard = &host.shards()[level];
        let own = &self.levels[level];
        let n_tiles = own.order.n_strips();
        if n_tiles == 0 {
            return Ok(Vec::new());
        }
        let Self { device, work, .. } = self;
        let mut argument = begin(device, work, (host, shard), points, (pass, n_tiles))?;
        grow(device, &mut work.sums, points.len() * n_tiles * SUMS)?;
        argument.sums = work.sums.address.0;
        argument.loss = loss_number(pass);
        let kernel = Kernel::of(host, pass, shard.sigma.is_some());
        if let Some((data, sigma)) = own.resident {
            (argument.data, argument.sigma) = (data.address.0, sigma.address.0);
            (argument.tiles, argument.n_tiles) = (own.tiles.address.0, n_tiles as u32);
            kernel.launch(device, argument, 0)?;
        } else {
            for (k, tiles) in own.order.batches(self.batch).into_iter().enumerate() {
                let stream = k % STREAMS;
                // what this queue did before is done with its buffers
                device.wait(stream)?;
                let (lanes, (data, sigma)) = (own.order.lanes(&tiles), &mut work.batches[stream]);
                let bytes = lanes.len() * size_of::<Lane>();
                grow(device, data, bytes)?;
                grow(device, sigma, if shard.sigma.is_some() { bytes } else { 0 })?;
                send(device, (host, shard), (&own.order, &tiles), (data.address, sigma.address), stream)?;
                // tiles name their lanes among all
                let before = (lanes.start * size_of::<Lane>()) as u64;
                argument.data = data.address.0.wrapping_sub(before);
                argument.sigma = if shard.sigma.is_some() { sigma.address.0.wrapping_sub(before) } else { 0 };
                let strips = own.order.strips(&tiles);
                argument.tiles = own.tiles.address.0 + (strips.start * size_of::<arguments::Tile>()) as u64;
                argument.n_tiles = strips.len() as u32;
                kernel.launch(device, argument, stream)?;
            }
            (0..STREAMS).try_for_each(|stream| device.wait(stream))?;
        }
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
            device
                .launch(&Launch { kernel: "complete_trees", blocks, threads: TREE_THREADS, shared: 0, argument }, 0)?;
            (from, n_from) = (*into, *n_jobs);
        }
        let mut sums = vec![0.0f64; points.len() * n_from * ENTRIES];
        device.download(from.address, cast_slice_mut(&mut sums), 0)?;
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
    // a pass that was left may still be at work with what is overwritten here
    (0..STREAMS).try_for_each(|stream| device.wait(stream))?;
    upload(device, &mut work.axis, cast_slice(&axis), 0)?;
    upload(device, &mut work.angles, cast_slice(&angles), 0)?;
    device.wait(0)?;
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
fn upload(device: &mut impl Device, buffer: &mut Buffer, bytes: &[u8], stream: usize) -> Outcome<()> {
    grow(device, buffer, bytes.len())?;
    device.upload(buffer.address, bytes, stream)
}

/// Puts a level on the device: its tiles and trees, and its data where there is room for them.
fn prepare(device: &mut impl Device, (host, shard): (&CpuEngine, &Shard), room: &mut usize) -> Outcome<OnDevice> {
    let (plan, range) = (&shard.level.plan, &shard.range);
    let n = plan.per_angle();
    let order = Tiles::new(shard);
    let tile = |tile: usize| {
        let strips = order.strips(&(tile..tile + 1));
        Node { first: strips.start as u32, count: strips.len() as u32, into: tile as u32 }
    };
    let tiles: Vec<Node> = (0..order.len()).map(tile).collect();
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
        if !bytes.is_empty() {
            upload(device, &mut buffer, bytes, 0)?;
        }
        Ok::<Buffer, Fault>(buffer)
    };
    let mut steps = [(Buffer::default(), 0); STEPS];
    for (step, nodes) in steps.iter_mut().zip([&tiles, &chains, &nodes]) {
        *step = (put(cast_slice(nodes))?, nodes.len());
    }
    let tiles = put(cast_slice(&order.arguments(shard)))?;
    device.wait(0)?;
    *room = room.saturating_sub(tiles.bytes + steps.iter().map(|(jobs, ..)| jobs.bytes).sum::<usize>());
    let mut own = OnDevice { order, tiles, resident: None, steps };
    let bytes = own.order.bytes();
    let all = if shard.sigma.is_some() { 2 * bytes } else { bytes };
    // two batches at least must find room beside it
    if all > 0 && all + 2 * STREAMS * SMALLEST_BATCH <= *room {
        own.resident = resident(device, (host, shard), &own.order)?;
        *room -= if own.resident.is_some() { all } else { 0 };
    }
    Ok(own)
}

/// Puts a level's data on the device; nothing where somebody else has taken the room.
fn resident(
    device: &mut impl Device,
    (host, shard): (&CpuEngine, &Shard),
    order: &Tiles,
) -> Outcome<Option<(Buffer, Buffer)>> {
    let (mut data, mut sigma) = (Buffer::default(), Buffer::default());
    let bytes = order.bytes();
    let mut fill = || {
        grow(device, &mut data, bytes)?;
        grow(device, &mut sigma, if shard.sigma.is_some() { bytes } else { 0 })?;
        for (k, tiles) in order.batches(LARGEST_BATCH).into_iter().enumerate() {
            let stream = k % STREAMS;
            device.wait(stream)?;
            let before = (order.lanes(&tiles).start * size_of::<Lane>()) as u64;
            let to = (Address(data.address.0 + before), Address(sigma.address.0 + before));
            send(device, (host, shard), (order, &tiles), to, stream)?;
        }
        (0..STREAMS).try_for_each(|stream| device.wait(stream))
    };
    match fill() {
        Ok(()) => Ok(Some((data, sigma))),
        Err(Fault::OutOfMemory { .. }) => {
            (0..STREAMS).try_for_each(|stream| device.wait(stream))?;
            for buffer in [data, sigma].into_iter().filter(|buffer| buffer.bytes > 0) {
                device.free(buffer.address);
            }
            Ok(None)
        }
        Err(fault) => Err(fault),
    }
}

/// Gathers tiles and sends c2, and σ of every pair where they have their own, on their way; the queue must have been waited for.
fn send(
    device: &mut impl Device,
    (host, shard): (&CpuEngine, &Shard),
    (order, tiles): (&Tiles, &Range<usize>),
    (data, sigma): (Address, Address),
    stream: usize,
) -> Outcome<()> {
    let bytes = order.lanes(tiles).len() * size_of::<Lane>();
    let staged = if shard.sigma.is_some() { 2 * bytes } else { bytes };
    order.gather((host, shard), tiles, device.staging(staged, stream)?);
    device.send(data, 0..bytes, stream)?;
    if shard.sigma.is_some() {
        device.send(sigma, bytes..staged, stream)?;
    }
    Ok(())
}
