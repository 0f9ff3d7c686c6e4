//! What the engine asks of a device: memory, copies, launches. CUDA is one implementation, [`super::Emulated`] another.

use std::fmt;
use std::ops::Range;

/// Memory of a device, by its address there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Address(pub u64);

/// Why a device doesn't do what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It has no room for so many bytes; less may do.
    OutOfMemory {
        /// Asked for.
        bytes: usize,
    },
    /// Anything else, in its own words.
    Failed(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfMemory { bytes } => write!(f, "no room for {bytes} bytes"),
            Self::Failed(message) => f.write_str(message),
        }
    }
}

/// What a device did, or why it didn't.
pub type Outcome<T> = std::result::Result<T, Fault>;

/// A kernel, how many blocks of how many threads it is to have, and what it is told.
#[derive(Debug, Clone, Copy)]
pub struct Launch<'a> {
    /// Its name in `kernels/`.
    pub kernel: &'static str,
    /// Blocks.
    pub blocks: u32,
    /// Threads of each.
    pub threads: u32,
    /// Bytes that the threads of a block share.
    pub shared: u32,
    /// Its argument: one structure as it lies in memory.
    pub argument: &'a [u8],
}

/// Two queues of work, each in order; copies to the device and launches may go on while the host does.
pub const STREAMS: usize = 2;

/// What a device has been used for.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Usage {
    /// Bytes that are allocated there.
    pub bytes: usize,
    /// Most that were.
    pub most_bytes: usize,
    /// Bytes that were copied to it.
    pub sent: u64,
    /// Time that kernels took, s, as the device measured it; of two at once both count.
    pub kernels: f64,
}

impl Usage {
    /// Memory was given.
    pub(super) fn gave(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.most_bytes = self.most_bytes.max(self.bytes);
    }
}

/// A GPU, or what acts as one.
pub trait Device {
    /// What it is, for messages.
    fn name(&self) -> String;

    /// What it has been used for, as far as it has been waited for.
    fn usage(&self) -> Usage;

    /// Gives memory; nothing is known of what it holds.
    ///
    /// # Errors
    /// [`Fault::OutOfMemory`] where there is too little.
    fn allocate(&mut self, bytes: usize) -> Outcome<Address>;

    /// Takes memory back.
    fn free(&mut self, memory: Address);

    /// So many bytes of the host's memory from which this queue copies fastest, on a multiple of 64. What is there is
    /// undefined; a copy from there must have been waited for.
    ///
    /// # Errors
    /// [`Fault::OutOfMemory`] where there is too little.
    fn staging(&mut self, bytes: usize, stream: usize) -> Outcome<&mut [u8]>;

    /// Copies a part of [`Self::staging`] to the device, behind what waits in this queue, while the host goes on.
    ///
    /// # Errors
    /// What the device fails with.
    fn send(&mut self, to: Address, part: Range<usize>, stream: usize) -> Outcome<()>;

    /// Copies to the device, behind what waits in this queue; the bytes may be changed once this has returned.
    ///
    /// # Errors
    /// What the device fails with.
    fn upload(&mut self, to: Address, bytes: &[u8], stream: usize) -> Outcome<()>;

    /// Copies from the device, behind what waits in this queue, and waits for it.
    ///
    /// # Errors
    /// What the device fails with, or has failed with since.
    fn download(&mut self, from: Address, bytes: &mut [u8], stream: usize) -> Outcome<()>;

    /// Puts a kernel into a queue.
    ///
    /// # Errors
    /// What the device fails with.
    fn launch(&mut self, launch: &Launch<'_>, stream: usize) -> Outcome<()>;

    /// Waits for a queue.
    ///
    /// # Errors
    /// What anything in it failed with.
    fn wait(&mut self, stream: usize) -> Outcome<()>;
}

impl<D: Device + ?Sized> Device for Box<D> {
    fn name(&self) -> String {
        (**self).name()
    }

    fn usage(&self) -> Usage {
        (**self).usage()
    }

    fn allocate(&mut self, bytes: usize) -> Outcome<Address> {
        (**self).allocate(bytes)
    }

    fn free(&mut self, memory: Address) {
        (**self).free(memory);
    }

    fn staging(&mut self, bytes: usize, stream: usize) -> Outcome<&mut [u8]> {
        (**self).staging(bytes, stream)
    }

    fn send(&mut self, to: Address, part: Range<usize>, stream: usize) -> Outcome<()> {
        (**self).send(to, part, stream)
    }

    fn upload(&mut self, to: Address, bytes: &[u8], stream: usize) -> Outcome<()> {
        (**self).upload(to, bytes, stream)
    }

    fn download(&mut self, from: Address, bytes: &mut [u8], stream: usize) -> Outcome<()> {
        (**self).download(from, bytes, stream)
    }

    fn launch(&mut self, launch: &Launch<'_>, stream: usize) -> Outcome<()> {
        (**self).launch(launch, stream)
    }

    fn wait(&mut self, stream: usize) -> Outcome<()> {
        (**self).wait(stream)
    }
}
