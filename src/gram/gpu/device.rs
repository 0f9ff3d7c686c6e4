//! What the engine asks of a device: memory, copies, launches. CUDA is one implementation, [`super::Emulated`] another.

use std::fmt;

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

/// What a device has been used for.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Usage {
    /// Bytes that are allocated there.
    pub bytes: usize,
    /// Most that were.
    pub most_bytes: usize,
    /// Bytes that were copied to it.
    pub sent: u64,
    /// Time that kernels took, s, as the device measured it.
    pub kernels: f64,
}

impl Usage {
    /// Memory was given.
    pub(super) fn gave(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.most_bytes = self.most_bytes.max(self.bytes);
    }
}

/// A GPU, or what acts as one: what it is asked for is done in order, while the host goes on.
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

    /// Copies to the device, behind what waits there; the bytes may be changed once this has returned.
    ///
    /// # Errors
    /// What the device fails with.
    fn upload(&mut self, to: Address, bytes: &[u8]) -> Outcome<()>;

    /// Copies from the device, behind what waits there, and waits for it.
    ///
    /// # Errors
    /// What the device fails with, or has failed with since.
    fn download(&mut self, from: Address, bytes: &mut [u8]) -> Outcome<()>;

    /// Has a kernel made, behind what waits there.
    ///
    /// # Errors
    /// What the device fails with.
    fn launch(&mut self, launch: &Launch<'_>) -> Outcome<()>;

    /// Waits until all is done.
    ///
    /// # Errors
    /// What anything failed with.
    fn wait(&mut self) -> Outcome<()>;
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

    fn upload(&mut self, to: Address, bytes: &[u8]) -> Outcome<()> {
        (**self).upload(to, bytes)
    }

    fn download(&mut self, from: Address, bytes: &mut [u8]) -> Outcome<()> {
        (**self).download(from, bytes)
    }

    fn launch(&mut self, launch: &Launch<'_>) -> Outcome<()> {
        (**self).launch(launch)
    }

    fn wait(&mut self) -> Outcome<()> {
        (**self).wait()
    }
}
