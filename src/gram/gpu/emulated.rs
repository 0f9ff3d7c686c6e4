//! The kernels of `kernels/`, built for the host (`kernels/emulation`), as a device: for tests, where there is no GPU.

use std::collections::BTreeMap;
use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::path::Path;
use std::time::Instant;

use libloading::Library;

use super::device::{Address, Device, Fault, Launch, Outcome, Usage};
use crate::{Error, Result};

type LaunchFunction = unsafe extern "C" fn(*const c_char, c_uint, c_uint, usize, *const c_void, c_int) -> c_int;

/// What is to go wrong, for tests.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Bytes that it has; 0 = as many as are asked for.
    pub memory: usize,
    /// The copy to the device that fails, from 1.
    pub upload: Option<usize>,
    /// The launch that fails, from 1.
    pub launch: Option<usize>,
}

/// The host as a device. Memory is poisoned: what is read before it is written is no number.
pub struct Emulated {
    launch: LaunchFunction,
    _library: Library,
    // aligned as a device aligns
    memory: BTreeMap<u64, (Vec<u128>, usize)>,
    reversed: bool,
    faults: Faults,
    uploads: usize,
    launches: usize,
    usage: Usage,
    /// Bytes of every allocation, in their order.
    pub allocations: Vec<usize>,
}

impl Emulated {
    /// With the kernels in a library; `reversed`: the threads of a block take turns in descending order.
    ///
    /// # Errors
    /// [`Error::Io`] where the library can't be loaded or isn't one of these.
    pub fn load(library: &Path, reversed: bool, faults: Faults) -> Result<Self> {
        let failed = |e: libloading::Error| Error::io("load", library, e);
        // SAFETY: the library is made of `kernels/emulation/library.cpp`, whose initialisers do nothing but zero memory, and
        // whose function has this signature.
        let (loaded, launch) = unsafe {
            let loaded = Library::new(library).map_err(failed)?;
            let launch = *loaded.get::<LaunchFunction>(b"homodyne_emulated_launch\0").map_err(failed)?;
            (loaded, launch)
        };
        Ok(Self {
            launch,
            _library: loaded,
            memory: BTreeMap::new(),
            reversed,
            faults,
            uploads: 0,
            launches: 0,
            usage: Usage::default(),
            allocations: Vec::new(),
        })
    }

    /// The memory from an address on, which may lie within what was allocated.
    fn at(&mut self, address: Address, bytes: usize) -> Outcome<&mut [u8]> {
        let outside = || Fault::Failed(format!("{bytes} bytes at {:#x} weren't allocated", address.0));
        let (start, (memory, _)) = self.memory.range_mut(..=address.0).next_back().ok_or_else(outside)?;
        let first = (address.0 - start) as usize;
        bytemuck::cast_slice_mut::<u128, u8>(memory).get_mut(first..first + bytes).ok_or_else(outside)
    }
}

impl Device for Emulated {
    fn name(&self) -> String {
        "emulated GPU".into()
    }

    fn usage(&self) -> Usage {
        self.usage
    }

    fn allocate(&mut self, bytes: usize) -> Outcome<Address> {
        if self.faults.memory > 0 && self.usage.bytes + bytes > self.faults.memory {
            return Err(Fault::OutOfMemory { bytes });
        }
        self.usage.gave(bytes);
        let memory = vec![u128::MAX; bytes.div_ceil(size_of::<u128>()).max(1)];
        let address = memory.as_ptr() as u64;
        self.memory.insert(address, (memory, bytes));
        self.allocations.push(bytes);
        Ok(Address(address))
    }

    fn free(&mut self, memory: Address) {
        self.usage.bytes -= self.memory.remove(&memory.0).map_or(0, |(_, bytes)| bytes);
    }

    fn upload(&mut self, to: Address, bytes: &[u8]) -> Outcome<()> {
        self.uploads += 1;
        if self.faults.upload == Some(self.uploads) {
            return Err(Fault::Failed("a copy failed on purpose".into()));
        }
        self.usage.sent += bytes.len() as u64;
        self.at(to, bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    fn download(&mut self, from: Address, bytes: &mut [u8]) -> Outcome<()> {
        let len = bytes.len();
        bytes.copy_from_slice(self.at(from, len)?);
        Ok(())
    }

    fn launch(&mut self, launch: &Launch<'_>) -> Outcome<()> {
        self.launches += 1;
        if self.faults.launch == Some(self.launches) {
            return Err(Fault::Failed(format!("{} failed on purpose", launch.kernel)));
        }
        let name = CString::new(launch.kernel).map_err(|e| Fault::Failed(e.to_string()))?;
        // structures are read as they are, so they must lie as such
        let mut argument = vec![0u128; launch.argument.len().div_ceil(size_of::<u128>())];
        bytemuck::cast_slice_mut::<u128, u8>(&mut argument)[..launch.argument.len()].copy_from_slice(launch.argument);
        // SAFETY: the argument is one of the structures of `super::arguments`, laid out as the kernel's own; the memory it
        // names was allocated above and is as large as the engine says.
        let begin = Instant::now();
        let code = unsafe {
            (self.launch)(
                name.as_ptr(),
                launch.blocks,
                launch.threads,
                launch.shared as usize,
                argument.as_ptr().cast(),
                c_int::from(self.reversed),
            )
        };
        self.usage.kernels += begin.elapsed().as_secs_f64();
        match code {
            0 => Ok(()),
            1 => Err(Fault::Failed(format!("there is no kernel {}", launch.kernel))),
            _ => Err(Fault::Failed(format!("the threads of {} don't meet, or leave their memory", launch.kernel))),
        }
    }

    fn wait(&mut self) -> Outcome<()> {
        Ok(())
    }
}
