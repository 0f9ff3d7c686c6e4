//! NVIDIA GPUs: the driver and NVRTC, both loaded while the program runs, so that neither is needed to build it or where there is
//! no GPU.

use std::collections::BTreeMap;
use std::ffi::{CString, c_int, c_void};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::ptr;

use cudarc::driver::{result, sys};
use cudarc::nvrtc;

use super::device::{Address, Device, Fault, Launch, Outcome, STREAMS, Usage};
use crate::files;

/// What is compiled.
const SOURCE: &str = include_str!("../../../kernels/gram.cu");
const HEADER: &str = include_str!("../../../kernels/model.cuh");
/// How the source names the header.
const HEADER_NAME: &str = "model.cuh";
/// The kernels in it.
const KERNELS: [&str; 16] = [
    "gram_still",
    "gram_square",
    "gram_quartic",
    "chi2_still",
    "chi2_square",
    "chi2_quartic",
    "robust_still",
    "robust_square",
    "robust_quartic",
    "mixed_gram_still",
    "mixed_gram_square",
    "mixed_gram_quartic",
    "mixed_robust_still",
    "mixed_robust_square",
    "mixed_robust_quartic",
    "complete_trees",
];
/// Oldest compute capability that the kernels are compiled for.
const OLDEST: (i32, i32) = (7, 0);

/// A GPU with the kernels on it. To be used by the thread that has opened it.
pub struct Cuda {
    name: String,
    device: sys::CUdevice,
    streams: [sys::CUstream; STREAMS],
    module: sys::CUmodule,
    functions: BTreeMap<&'static str, sys::CUfunction>,
    /// Page-locked memory of the host, and its size.
    staging: [(*mut c_void, usize); STREAMS],
    /// Before and after every launch that hasn't been waited for.
    launched: [Vec<[sys::CUevent; 2]>; STREAMS],
    /// Events to be used again.
    spare: Vec<[sys::CUevent; 2]>,
    /// Bytes of what is allocated.
    sizes: BTreeMap<u64, usize>,
    usage: Usage,
}

/// What the driver says of a failed call.
fn told(error: result::DriverError) -> String {
    let text = error.error_string().ok().map(|text| text.to_string_lossy().into_owned());
    text.unwrap_or_else(|| format!("{error:?}"))
}

fn fault(error: result::DriverError) -> Fault {
    Fault::Failed(told(error))
}

/// Of a call that asked for memory.
fn refused(error: result::DriverError, bytes: usize) -> Fault {
    match error.0 {
        sys::cudaError_enum::CUDA_ERROR_OUT_OF_MEMORY => Fault::OutOfMemory { bytes },
        _ => fault(error),
    }
}

/// An event that tells the time.
fn event() -> Outcome<sys::CUevent> {
    result::event::create(sys::CUevent_flags::CU_EVENT_DEFAULT).map_err(fault)
}

/// Calls into a library that panics where a function of it is missing.
fn guarded<T>(what: &str, call: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    // what the hook prints would be a second error
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let done = catch_unwind(AssertUnwindSafe(call));
    std::panic::set_hook(hook);
    done.unwrap_or_else(|_| Err(format!("{what} is too old for this program")))
}

/// Number of GPUs.
///
/// # Errors
/// Why there is none.
pub fn count() -> Result<usize, String> {
    // SAFETY: asks the loader whether the library is there
    if !unsafe { sys::is_culib_present() } {
        return Err("no NVIDIA driver is installed (libcuda.so.1)".into());
    }
    guarded("the NVIDIA driver", || {
        result::init().map_err(|e| format!("the NVIDIA driver doesn't start: {}", told(e)))?;
        match result::device::get_count().map_err(told)? {
            n if n > 0 => Ok(n as usize),
            _ => Err("the NVIDIA driver sees no GPU (CUDA_VISIBLE_DEVICES?)".into()),
        }
    })
}

/// A GPU, as the driver describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Its name.
    pub name: String,
    /// Bytes of memory.
    pub memory: usize,
    /// Compute capability, major and minor.
    pub capability: (i32, i32),
    /// The version of CUDA that the driver serves.
    pub driver: (i32, i32),
}

/// All GPUs, in the order in which ranks take them.
///
/// # Errors
/// Why there is none.
pub fn devices() -> Result<Vec<DeviceInfo>, String> {
    let n = count()?;
    guarded("the NVIDIA driver", || {
        let mut version = 0;
        // SAFETY: writes a number
        unsafe { sys::cuDriverGetVersion(&mut version) }.result().map_err(told)?;
        let one = |number: usize| {
            let device = result::device::get(number as c_int).map_err(told)?;
            Ok(DeviceInfo {
                name: result::device::get_name(device).map_err(told)?,
                // SAFETY: the device comes from the driver
                memory: unsafe { result::device::total_mem(device) }.map_err(told)?,
                capability: capability(device)?,
                driver: (version / 1000, version % 1000 / 10),
            })
        };
        (0..n).map(one).collect()
    })
}

fn capability(device: sys::CUdevice) -> Result<(i32, i32), String> {
    use sys::CUdevice_attribute_enum::{
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR as MAJOR, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR as MINOR,
    };
    // SAFETY: the device comes from the driver
    let attribute = |which| unsafe { result::device::get_attribute(device, which) }.map_err(told);
    Ok((attribute(MAJOR)?, attribute(MINOR)?))
}

/// NVRTC's version.
///
/// # Errors
/// Why there is none.
pub fn nvrtc_version() -> Result<(i32, i32), String> {
    // SAFETY: asks the loader whether the library is there
    if !unsafe { nvrtc::sys::is_culib_present() } {
        return Err("NVRTC isn't installed (libnvrtc.so, of a CUDA toolkit 12 or PyPI's nvidia-cuda-nvrtc-cu12)".into());
    }
    guarded("NVRTC", || {
        let mut version = (0, 0);
        // SAFETY: writes two numbers
        unsafe { nvrtc::sys::nvrtcVersion(&mut version.0, &mut version.1) }.result().map_err(|e| e.to_string())?;
        Ok(version)
    })
}

/// Removes compiled kernels; gives how many there were, and the folder.
///
/// # Errors
/// [`crate::Error::Io`] where one can't be removed.
pub fn clear_cache() -> crate::Result<(usize, Option<PathBuf>)> {
    let Some(folder) = cache() else { return Ok((0, None)) };
    let mut n = 0;
    for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "ptx") {
            std::fs::remove_file(&path).map_err(|e| crate::Error::io("remove", &path, e))?;
            n += 1;
        }
    }
    Ok((n, Some(folder)))
}

impl Cuda {
    /// Opens the GPU of that number.
    ///
    /// # Errors
    /// Why it can't be used.
    pub fn open(number: usize) -> Result<Self, String> {
        count()?;
        guarded("the NVIDIA driver", || Self::start(number))
    }

    fn start(number: usize) -> Result<Self, String> {
        let device = result::device::get(number as c_int).map_err(told)?;
        let name = result::device::get_name(device).map_err(told)?;
        let capability = capability(device)?;
        if capability < OLDEST {
            let (major, minor) = capability;
            return Err(format!("{name} has compute capability {major}.{minor}; {}.{} is needed", OLDEST.0, OLDEST.1));
        }
        let ptx = compiled(capability)?;
        // SAFETY: the context stays current on this thread until `drop`; the code ends in a zero
        let (module, streams) = unsafe {
            let context = result::primary_ctx::retain(device).map_err(told)?;
            result::ctx::set_current(context).map_err(told)?;
            let stream = || result::stream::create(result::stream::StreamKind::NonBlocking).map_err(told);
            let streams = [stream()?, stream()?];
            let module = result::module::load_data(ptx.as_ptr().cast());
            (module.map_err(|e| format!("{name} doesn't take the kernels: {}", told(e)))?, streams)
        };
        let mut functions = BTreeMap::new();
        for kernel in KERNELS {
            let text = CString::new(kernel).map_err(|e| e.to_string())?;
            // SAFETY: the module was loaded above
            functions.insert(kernel, unsafe { result::module::get_function(module, text) }.map_err(told)?);
        }
        Ok(Self {
            name,
            device,
            streams,
            module,
            functions,
            staging: [(ptr::null_mut(), 0); STREAMS],
            launched: Default::default(),
            spare: Vec::new(),
            sizes: BTreeMap::new(),
            usage: Usage::default(),
        })
    }

    /// Bytes that are free.
    ///
    /// # Errors
    /// What the driver says.
    pub fn free_memory(&self) -> Result<usize, String> {
        result::mem_get_info().map(|(free, _)| free).map_err(told)
    }
}

impl Drop for Cuda {
    fn drop(&mut self) {
        // SAFETY: all of it was made in `start`; nothing is left to be done about failures
        unsafe {
            let _ = result::ctx::synchronize();
            for event in self.launched.iter().flatten().chain(&self.spare).flatten() {
                let _ = result::event::destroy(*event);
            }
            for (memory, _) in self.staging.iter().filter(|(memory, _)| !memory.is_null()) {
                let _ = result::free_host(*memory);
            }
            let _ = result::module::unload(self.module);
            for stream in self.streams {
                let _ = result::stream::destroy(stream);
            }
            let _ = result::primary_ctx::release(self.device);
        }
    }
}

// SAFETY of all that follows: memory, streams and functions are the driver's own and live as long as `self`; the engine says
// how many bytes there are.
impl Device for Cuda {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn usage(&self) -> Usage {
        self.usage
    }

    fn allocate(&mut self, bytes: usize) -> Outcome<Address> {
        let address = unsafe { result::malloc_sync(bytes.max(1)) }.map_err(|error| refused(error, bytes))?;
        self.sizes.insert(address, bytes);
        self.usage.gave(bytes);
        Ok(Address(address))
    }

    fn free(&mut self, memory: Address) {
        let _ = unsafe { result::free_sync(memory.0) };
        self.usage.bytes -= self.sizes.remove(&memory.0).unwrap_or(0);
    }

    fn staging(&mut self, bytes: usize, stream: usize) -> Outcome<&mut [u8]> {
        let (memory, size) = &mut self.staging[stream];
        if *size < bytes {
            if !memory.is_null() {
                unsafe { result::free_host(*memory) }.map_err(fault)?;
                (*memory, *size) = (ptr::null_mut(), 0);
            }
            *memory = unsafe { result::malloc_host(bytes, 0) }.map_err(|error| refused(error, bytes))?;
            *size = bytes;
            // pages that are locked have contents, but the compiler doesn't know
            unsafe { ptr::write_bytes(memory.cast::<u8>(), 0, bytes) };
        }
        if bytes == 0 {
            return Ok(&mut []);
        }
        Ok(unsafe { std::slice::from_raw_parts_mut(memory.cast::<u8>(), bytes) })
    }

    fn send(&mut self, to: Address, part: Range<usize>, stream: usize) -> Outcome<()> {
        let (memory, size) = self.staging[stream];
        if part.is_empty() {
            return Ok(());
        }
        if part.start > part.end || part.end > size {
            return Err(Fault::Failed(format!("bytes {part:?} of {size} aren't there to be sent")));
        }
        self.usage.sent += part.len() as u64;
        let bytes = unsafe { std::slice::from_raw_parts(memory.cast::<u8>().add(part.start), part.len()) };
        unsafe { result::memcpy_htod_async(to.0, bytes, self.streams[stream]) }.map_err(fault)
    }

    fn upload(&mut self, to: Address, bytes: &[u8], stream: usize) -> Outcome<()> {
        self.usage.sent += bytes.len() as u64;
        // from pageable memory: what is copied may change once the call has returned
        unsafe { result::memcpy_htod_async(to.0, bytes, self.streams[stream]) }.map_err(fault)
    }

    fn download(&mut self, from: Address, bytes: &mut [u8], stream: usize) -> Outcome<()> {
        unsafe { result::memcpy_dtoh_async(bytes, from.0, self.streams[stream]) }.map_err(fault)?;
        self.wait(stream)
    }

    fn launch(&mut self, launch: &Launch<'_>, stream: usize) -> Outcome<()> {
        let no_kernel = || Fault::Failed(format!("there is no kernel {}", launch.kernel));
        let function = *self.functions.get(launch.kernel).ok_or_else(no_kernel)?;
        // structures are read as they are, so they must lie as such
        let mut argument = vec![0u128; launch.argument.len().div_ceil(size_of::<u128>())];
        bytemuck::cast_slice_mut::<u128, u8>(&mut argument)[..launch.argument.len()].copy_from_slice(launch.argument);
        let (blocks, threads) = ((launch.blocks, 1, 1), (launch.threads, 1, 1));
        let mut arguments = [argument.as_mut_ptr().cast::<c_void>()];
        let [before, after] = match self.spare.pop() {
            Some(events) => events,
            None => [event()?, event()?],
        };
        self.launched[stream].push([before, after]);
        let queue = self.streams[stream];
        unsafe {
            result::event::record(before, queue).map_err(fault)?;
            result::launch_kernel(function, blocks, threads, launch.shared, queue, &mut arguments)
                .map_err(|e| Fault::Failed(format!("{}: {}", launch.kernel, told(e))))?;
            result::event::record(after, queue).map_err(fault)
        }
    }

    fn wait(&mut self, stream: usize) -> Outcome<()> {
        unsafe { result::stream::synchronize(self.streams[stream]) }.map_err(fault)?;
        for [before, after] in self.launched[stream].drain(..) {
            // a launch that failed has no time
            let milliseconds = unsafe { result::event::elapsed(before, after) }.unwrap_or(0.0);
            self.usage.kernels += f64::from(milliseconds) / 1e3;
            self.spare.push([before, after]);
        }
        Ok(())
    }
}

/// The kernels as PTX, with a zero at the end, from the cache or compiled.
fn compiled((major, minor): (i32, i32)) -> Result<Vec<u8>, String> {
    let version = nvrtc_version()?;
    guarded("NVRTC", || {
        let architecture = format!("compute_{major}{minor}");
        let mut hasher = blake3::Hasher::new();
        for part in [SOURCE, HEADER, &architecture, &format!("{version:?}")] {
            hasher.update(part.as_bytes()).update(&[0]);
        }
        let cached = cache().map(|folder| folder.join(format!("{}.ptx", &hasher.finalize().to_hex()[..32])));
        let found = cached.as_deref().and_then(|path| std::fs::read(path).ok()).filter(|ptx| ptx.last() == Some(&0));
        if let (Some(ptx), Some(path)) = (found, &cached) {
            log::info!("kernels for {architecture}: cached in {}", path.display());
            return Ok(ptx);
        }
        log::info!("kernels for {architecture}: compiling with NVRTC {}.{}", version.0, version.1);
        let ptx = compile(&architecture)?;
        if let Some(path) = &cached {
            // the next run compiles again where this can't be kept
            let kept = std::fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).map_err(|e| e.to_string());
            let kept =
                kept.and_then(|()| files::replace(path, |part| std::fs::write(part, &ptx)).map_err(|e| e.to_string()));
            kept.unwrap_or_else(|e| log::info!("the compiled kernels aren't kept: {e}"));
        }
        Ok(ptx)
    })
}

/// The folder of compiled kernels: below `XDG_CACHE_HOME`, else below `~/.cache`.
fn cache() -> Option<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute()).or_else(home)?;
    Some(base.join("homodyne-mpi").join("kernels"))
}

/// Compiles the kernels.
pub(super) fn compile(architecture: &str) -> Result<Vec<u8>, String> {
    let text = |text: &str| CString::new(text).map_err(|e| e.to_string());
    let (source, header, header_name, name) = (text(SOURCE)?, text(HEADER)?, text(HEADER_NAME)?, text("gram.cu")?);
    let (headers, header_names) = ([header.as_ptr()], [header_name.as_ptr()]);
    // SAFETY: all strings and arrays outlive the program
    unsafe {
        let mut program = ptr::null_mut();
        nvrtc::sys::nvrtcCreateProgram(
            &mut program,
            source.as_ptr(),
            name.as_ptr(),
            1,
            headers.as_ptr(),
            header_names.as_ptr(),
        )
        .result()
        .map_err(|e| e.to_string())?;
        let options = [format!("--gpu-architecture={architecture}"), "--std=c++17".into()];
        let compiled = nvrtc::result::compile_program(program, &options);
        let ptx = compiled.and_then(|()| nvrtc::result::get_ptx(program));
        let said = nvrtc::result::get_program_log(program).unwrap_or_default();
        let _ = nvrtc::result::destroy_program(program);
        let said: Vec<u8> = said.into_iter().map(|c| c as u8).take_while(|&c| c != 0).collect();
        let ptx = ptx.map_err(|e| format!("NVRTC: {e}: {}", String::from_utf8_lossy(&said)))?;
        Ok(ptx.into_iter().map(|c| c as u8).collect())
    }
}
