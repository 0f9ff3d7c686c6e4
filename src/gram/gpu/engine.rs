//! The engine on a device: what lies there, what is sent when, how sums come back.
//!
//! Beside c2 itself a device holds, per tile, 40 bytes that say what it is and 448 bytes of sums for every point of a launch,
//! and the integrals of the points, 128 bytes a frame. Levels lie there whole, coarse ones first, as long as the budget lasts;
//! of the others batches of tiles are sent in every pass, one while another is worked on.

use std::ops::Range;

use bytemuck::{bytes_of, cast_slice, cast_slice_mut};

use super::super::axis::{Clock, Integrate};
use super::super::isa::InstructionSet;
use super::super::rounds::Rounds;
use super::super::{ENTRIES, Gram, Lane, Pass, Point, Shard, tree};
use super::arguments::{self, Angle, INTEGRALS, Node, SHARED, SUMS, THREADS, TREE_THREADS, Tile, Trees};
use super::device::{Address, Device, Fault, Launch, Outcome, STREAMS};
use crate::model::Experiment;
use crate::{Error, Result};

/// Most blocks of a launch: several times what any device works on at once; each goes on to further tiles.
const MOST_BLOCKS: u64 = 8192;
/// Neighbours that one thread adds; larger nodes are completed in two steps.
const CHAIN: usize = 64;
/// Share of the budget for what points need: integrals and sums.
const FOR_POINTS: usize = 8;
/// Smallest batch that is tried when memory is short.
const SMALLEST_BATCH: usize = 1 << 16;

/// Memory that grows when it must.
#[derive(Debug, Clone, Copy, Default)]
struct Buffer {
    address: Address,
    bytes: usize,
}

/// What a level is on the device.
struct OnDevice {
    /// Where the lanes of each tile begin, and where the last ones end.
    lanes: Vec<usize>,
    /// All tiles, as they lie there.
    tiles: Buffer,
    n_tiles: usize,
    /// c2, and σ of every pair where they have their own, if they stay there.
    resident: Option<(Buffer, Buffer)>,
    /// Both steps of completing trees: the nodes that each leaves, as they lie there, and how many.
    steps: [(Buffer, usize); 2],
}

/// Buffers for what comes with every pass.
#[derive(Default)]
struct Work {
    axis: Buffer,
    angles: Buffer,
    sums: Buffer,
    chains: Buffer,
    nodes: Buffer,
    batches: [(Buffer, Buffer); STREAMS],
}

/// The tiles of one rank on a device.
pub struct GpuEngine<D: Device> {
    device: D,
    experiment: Experiment,
    clock: Clock,
    set: InstructionSet,
    sigma: Vec<f64>,
    levels: Vec<OnDevice>,
    work: Work,
    /// Bytes of a batch.
    batch: usize,
    /// Bytes that integrals and sums of the points of a launch may take.
    for_points: usize,
}

impl<D: Device> GpuEngine<D> {
    /// An engine that uses up to `budget` bytes of a device. Data that don't find room there are sent in every pass, so they must
    /// lie in memory: shards that are read from files can't be.
    ///
    /// # Errors
    /// [`Error::Device`] where it fails or has too little memory even for batches; [`Error::Memory`] for streamed shards.
    pub fn new(mut device: D, experiment: Experiment, shards: &[Shard], budget: usize) -> Result<Self> {
        if shards.iter().any(|shard| shard.streamed.is_some()) {
            return Err(Error::Memory(
                "data that are read in every pass can't be fitted on a GPU; more memory, or `--device cpu`".into(),
            ));
        }
        let for_points = budget / FOR_POINTS;
        let mut room = budget - for_points;
        let mut levels = Vec::new();
        for shard in shards.iter().rev() {
            levels.push(prepare(&mut device, shard, &mut room).map_err(|fault| failed(&device, fault))?);
        }
        levels.reverse();
        let sigma = vec![1.0; experiment.n_angles()];
        let (clock, set) = (Clock::new(&experiment), InstructionSet::select()?);
        let batch = (room / (2 * STREAMS)).max(SMALLEST_BATCH);
        let work = Work::default();
        Ok(Self { device, experiment, clock, set, sigma, levels, work, batch, for_points })
    }

    /// Measures by this noise (σ of every angle) in robust passes from now on; by 1 before.
    pub fn set_sigma(&mut self, sigma: &[f64]) {
        self.sigma = sigma.to_vec();
    }

    /// What the device is.
    pub fn name(&self) -> String {
        self.device.name()
    }

    /// The device.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// Whether a level lies on the device.
    pub fn holds(&self, level: usize) -> bool {
        self.levels[level].resident.is_some()
    }

    /// Sums of the maximal nodes of the shard's tiles, point after point, as [`super::super::Engine::evaluate_in_rounds`] gives them; `shard`
    /// is the one that the engine was made with at this level.
    ///
    /// # Errors
    /// [`Error::Device`] where the device fails; what comes from between two rounds.
    pub fn evaluate(
        &mut self,
        (level, shard): (usize, &Shard),
        points: &[Point],
        pass: Pass,
        rounds: &mut Rounds<'_>,
    ) -> Result<Vec<Gram>> {
        let per_point = {
            let own = &self.levels[level];
            let sums = own.n_tiles + own.steps[0].1 + own.steps[1].1;
            2 * 8 * INTEGRALS * shard.level.frames.len() + size_of::<Angle>() * self.experiment.n_angles() + SUMS * sums
        };
        let mut together = (self.for_points / per_point).clamp(1, points.len().max(1));
        let (mut out, mut done) = (Vec::new(), 0);
        while done < points.len() {
            let now = &points[done..points.len().min(done + together)];
            match self.together((level, shard), now, pass, rounds) {
                Ok(sums) => {
                    out.extend(sums);
                    done += now.len();
                }
                Err(Ended::Fault(Fault::OutOfMemory { .. })) if together > 1 || self.batch > SMALLEST_BATCH => {
                    // as much less as can be
                    together = (together / 2).max(1);
                    self.batch = (self.batch / 2).max(SMALLEST_BATCH);
                    self.forget();
                    log::info!("{}: too little memory; batches are halved", self.device.name());
                }
                Err(Ended::Fault(fault)) => return Err(failed(&self.device, fault)),
                Err(Ended::Between(error)) => return Err(error),
            }
        }
        Ok(out)
    }

    /// Gives back what comes with every pass.
    fn forget(&mut self) {
        let Work { axis, angles, sums, chains, nodes, batches } = std::mem::take(&mut self.work);
        let batches = batches.into_iter().flat_map(|(data, sigma)| [data, sigma]);
        for buffer in [axis, angles, sums, chains, nodes].into_iter().chain(batches).filter(|buffer| buffer.bytes > 0) {
            self.device.free(buffer.address);
        }
    }

    /// Points whose integrals and sums lie on the device at once.
    fn together(
        &mut self,
        (level, shard): (usize, &Shard),
        points: &[Point],
        pass: Pass,
        rounds: &mut Rounds<'_>,
    ) -> std::result::Result<Vec<Gram>, Ended> {
        let (axis, angles) = (self.axis(shard, points, pass), self.angles(points, pass));
        let Self { device, experiment, levels, work, .. } = self;
        let own = &levels[level];
        if own.n_tiles == 0 {
            return Ok(Vec::new());
        }
        // a pass that was left may still be at work with what is overwritten here
        (0..STREAMS).try_for_each(|stream| device.wait(stream))?;
        send(device, &mut work.axis, cast_slice(&axis), 0)?;
        send(device, &mut work.angles, cast_slice(&angles), 0)?;
        grow(device, &mut work.sums, points.len() * own.n_tiles * SUMS)?;
        device.wait(0)?;
        let mut argument = arguments::Pass {
            axis: work.axis.address.0,
            angles: work.angles.address.0,
            sums: work.sums.address.0,
            k: experiment.diffusion_factor(),
            n_points: points.len() as u32,
            n_frames: shard.level.frames.len() as u32,
            n_angles: experiment.n_angles() as u32,
            n_slots: own.n_tiles as u32,
            loss: loss_number(pass),
            ..bytemuck::Zeroable::zeroed()
        };
        let kernel = kernel(experiment, pass, shard.sigma.is_some());
        if let Some((data, sigma)) = own.resident {
            (argument.data, argument.sigma) = (data.address.0, sigma.address.0);
            (argument.tiles, argument.n_tiles) = (own.tiles.address.0, own.n_tiles as u32);
            launch(device, kernel, argument, 0)?;
        } else {
            let mut stream = 0;
            for tiles in batches(own, self.batch) {
                // what this queue did before is done with its buffers
                device.wait(stream)?;
                let (data, sigma) = &mut work.batches[stream];
                let lanes = own.lanes[tiles.start]..own.lanes[tiles.end];
                send(device, data, cast_slice(&shard.store.lanes()[lanes.clone()]), stream)?;
                if let Some(own_sigma) = &shard.sigma {
                    send(device, sigma, cast_slice(&own_sigma.lanes()[lanes.clone()]), stream)?;
                    argument.sigma = sigma.address.0.wrapping_sub((lanes.start * size_of::<Lane>()) as u64);
                }
                // tiles name their lanes among all
                argument.data = data.address.0.wrapping_sub((lanes.start * size_of::<Lane>()) as u64);
                argument.tiles = own.tiles.address.0 + (tiles.start * size_of::<Tile>()) as u64;
                argument.n_tiles = tiles.len() as u32;
                launch(device, kernel, argument, stream)?;
                stream = (stream + 1) % STREAMS;
                if rounds.until().is_some_and(|until| std::time::Instant::now() >= until) {
                    rounds.next(&Vec::new).map_err(Ended::Between)?;
                }
            }
            (0..STREAMS).try_for_each(|stream| device.wait(stream))?;
        }
        let [(_, n_chains), (_, n_nodes)] = own.steps;
        grow(device, &mut work.chains, points.len() * n_chains * SUMS)?;
        grow(device, &mut work.nodes, points.len() * n_nodes * SUMS)?;
        let places = [(work.sums, own.n_tiles), (work.chains, n_chains), (work.nodes, n_nodes)];
        for (step, (jobs, n_jobs)) in own.steps.iter().enumerate() {
            let ((from, n_from), (into, n_into)) = (places[step], places[step + 1]);
            let trees = Trees {
                from: from.address.0,
                into: into.address.0,
                nodes: jobs.address.0,
                n_nodes: *n_jobs as u32,
                n_points: points.len() as u32,
                n_from: n_from as u32,
                n_into: n_into as u32,
            };
            let blocks = (*n_jobs as u64 * points.len() as u64).min(MOST_BLOCKS) as u32;
            let argument = bytes_of(&trees);
            device
                .launch(&Launch { kernel: "complete_trees", blocks, threads: TREE_THREADS, shared: 0, argument }, 0)?;
        }
        let mut sums = vec![0.0f64; points.len() * n_nodes * ENTRIES];
        device.download(work.nodes.address, cast_slice_mut(&mut sums), 0)?;
        let gram = |numbers: &[f64]| {
            let mut gram = Gram::default();
            gram.0.copy_from_slice(numbers);
            gram.keep(&pass.filled());
            gram
        };
        Ok(sums.chunks_exact(ENTRIES).map(gram).collect())
    }

    /// By point and frame of the level: the integrals' hi, then their lo.
    fn axis(&self, shard: &Shard, points: &[Point], pass: Pass) -> Vec<f64> {
        let derivatives = pass != Pass::Chi2 || shard.sigma.is_some();
        let mut out = Vec::with_capacity(points.len() * shard.level.frames.len() * 2 * INTEGRALS);
        for point in points {
            let axis = self.set.run(Integrate { clock: &self.clock, physical: &point.physical, derivatives });
            for &frame in &shard.level.frames {
                out.extend(axis.hi[frame]);
                out.extend(axis.lo[frame]);
            }
        }
        out
    }

    fn angles(&self, points: &[Point], pass: Pass) -> Vec<Angle> {
        let factor = if let Pass::Robust { doublings, .. } = pass { f64::from(doublings).exp2() } else { 1.0 };
        let of_point = |point: &Point| {
            let angle = |angle: usize| {
                let sheared = self.experiment.mode.has_shear();
                let (p, dp) =
                    if sheared { self.experiment.phase_factors(point.physical[6], angle) } else { (0.0, 0.0) };
                let (contrast, offset) = point.scaling[angle];
                let unit = self.sigma[angle];
                Angle { p, dp, contrast, offset, sigma: factor * unit, unit }
            };
            (0..self.experiment.n_angles()).map(angle).collect::<Vec<_>>()
        };
        points.iter().flat_map(of_point).collect()
    }
}

/// Why points weren't finished.
enum Ended {
    Fault(Fault),
    Between(Error),
}

impl From<Fault> for Ended {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

fn failed(device: &impl Device, fault: Fault) -> Error {
    Error::Device { name: device.name(), message: fault.to_string() }
}

/// The number of a loss, as `kernels/model.cuh` has it: 0 = squares.
fn loss_number(pass: Pass) -> u32 {
    if let Pass::Robust { loss, .. } = pass { 1 + loss as u32 } else { 0 }
}

fn kernel(experiment: &Experiment, pass: Pass, weighted: bool) -> &'static str {
    let names = match pass {
        _ if weighted => ["robust_still", "robust_square", "robust_quartic"],
        Pass::Robust { .. } => ["robust_still", "robust_square", "robust_quartic"],
        Pass::Gram => ["gram_still", "gram_square", "gram_quartic"],
        Pass::Chi2 => ["chi2_still", "chi2_square", "chi2_quartic"],
    };
    let shape = match experiment.convention.power() {
        _ if !experiment.mode.has_shear() => 0,
        2 => 1,
        _ => 2,
    };
    names[shape]
}

fn launch(device: &mut impl Device, kernel: &'static str, pass: arguments::Pass, stream: usize) -> Outcome<()> {
    let blocks = (u64::from(pass.n_tiles) * u64::from(pass.n_points)).min(MOST_BLOCKS) as u32;
    device.launch(&Launch { kernel, blocks, threads: THREADS, shared: SHARED, argument: bytes_of(&pass) }, stream)
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
fn send(device: &mut impl Device, buffer: &mut Buffer, bytes: &[u8], stream: usize) -> Outcome<()> {
    grow(device, buffer, bytes.len())?;
    device.upload(buffer.address, bytes, stream)
}

/// Runs of tiles of about so many bytes.
fn batches(own: &OnDevice, bytes: usize) -> Vec<Range<usize>> {
    let mut out = Vec::new();
    let mut first = 0;
    while first < own.n_tiles {
        let end = own.lanes[first] + bytes / size_of::<Lane>();
        let next = own.lanes.partition_point(|&lane| lane <= end).saturating_sub(1).max(first + 1).min(own.n_tiles);
        out.push(first..next);
        first = next;
    }
    out
}

/// Puts a level on the device: its tiles and trees, and its data where there is room for them.
fn prepare(device: &mut impl Device, shard: &Shard, room: &mut usize) -> Outcome<OnDevice> {
    let (plan, range) = (&shard.level.plan, &shard.store.range);
    let n = plan.per_angle();
    let (mut lanes, mut tiles) = (vec![0], Vec::new());
    for (slot, number) in range.clone().enumerate() {
        let tile = &plan.tiles[number % n];
        tiles.push(Tile::new(tile, lanes[slot], number / n, slot));
        lanes.push(lanes[slot] + tile.n_lanes);
    }
    let (mut chains, mut nodes) = (Vec::new(), Vec::new());
    for angle in 0..plan.n_angles {
        for node in tree::owned_nodes(n, &plan.within_angle(range, angle), u32::MAX) {
            let own = node.tiles(n);
            let (first, into) = (chains.len(), nodes.len() as u32);
            for start in own.clone().step_by(CHAIN) {
                let count = CHAIN.min(own.end - start) as u32;
                let slot = (angle * n + start - range.start) as u32;
                chains.push(Node { first: slot, count, into: chains.len() as u32 });
            }
            nodes.push(Node { first: first as u32, count: (chains.len() - first) as u32, into });
        }
    }
    let mut put = |bytes: &[u8]| {
        let mut buffer = Buffer::default();
        if !bytes.is_empty() {
            send(device, &mut buffer, bytes, 0)?;
        }
        Ok(buffer)
    };
    let steps = [(put(cast_slice(&chains))?, chains.len()), (put(cast_slice(&nodes))?, nodes.len())];
    let n_tiles = tiles.len();
    let tiles = put(cast_slice(&tiles))?;
    *room = room.saturating_sub(tiles.bytes + steps.iter().map(|(jobs, ..)| jobs.bytes).sum::<usize>());
    let data = cast_slice(shard.store.lanes());
    let sigma = shard.sigma.as_ref().map_or(&[][..], |sigma| cast_slice(sigma.lanes()));
    let bytes = data.len() + sigma.len();
    let mut resident = None;
    // two batches at least must find room beside it
    if bytes + 2 * STREAMS * SMALLEST_BATCH <= *room {
        resident = match (put(data), put(sigma)) {
            (Ok(data), Ok(sigma)) => Some((data, sigma)),
            (Err(fault @ Fault::Failed(_)), _) | (_, Err(fault @ Fault::Failed(_))) => return Err(fault),
            // somebody else uses the device
            (data, sigma) => {
                for buffer in [data, sigma].into_iter().flatten().filter(|buffer: &Buffer| buffer.bytes > 0) {
                    device.free(buffer.address);
                }
                None
            }
        };
        *room -= if resident.is_some() { bytes } else { 0 };
    }
    device.wait(0)?;
    Ok(OnDevice { lanes, tiles, n_tiles, resident, steps })
}
