//! NVIDIA GPUs: the driver and NVRTC, both loaded while the program runs, so that neither is needed to build it or where there is
//! no GPU.

use std::collections::BTreeMap;
use std::ffi::{CString, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use cudarc::driver::sys::CUdevice_attribute_enum as Attribute;
use cudarc::driver::{result, sys};
use cudarc::nvrtc;

use super::cache;
use super::device::{Address, Device, Fault, Launch, Outcome, Usage};

/// What is compiled.
const SOURCE: &str = include_str!("../../../kernels/gram.cu");
const HEADER: &str = include_str!("../../../kernels/model.cuh");
/// How the source names the header.
const HEADER_NAME: &str = "model.cuh";
/// The kernels in it.
const KERNELS: [&str; 19] = [
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
    "model_still",
    "model_square",
    "model_quartic",
    "complete_trees",
];
/// Oldest compute capability that the kernels are compiled for.
const OLDEST: (i32, i32) = (7, 0);

/// A GPU with the kernels on it. To be used by the thread that has opened it.
pub struct Cuda {
    name: String,
    device: sys::CUdevice,
    stream: sys::CUstream,
    module: sys::CUmodule,
    functions: BTreeMap<&'static str, sys::CUfunction>,
    /// Before and after every launch that hasn't been waited for.
    launched: Vec<[sys::CUevent; 2]>,
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
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceInfo {
    /// Its name.
    pub name: String,
    /// Bytes of memory.
    pub memory: usize,
    /// Compute capability, major and minor.
    pub capability: (i32, i32),
    /// The version of CUDA that the driver serves.
    pub driver: (i32, i32),
    /// Number of multiprocessors.
    pub multiprocessors: u32,
    /// Most cycles of them in a second.
    pub clock: f64,
}

/// All GPUs, in the order in which ranks take them.
///
/// # Errors
/// Why there is none.
pub fn devices() -> Result<Vec<DeviceInfo>, String> {
    let n = count()?;
    guarded("the NVIDIA driver", || {
        let driver = driver_version()?;
        let one = |number: usize| {
            let device = result::device::get(number as c_int).map_err(told)?;
            Ok(DeviceInfo {
                name: result::device::get_name(device).map_err(told)?,
                // SAFETY: the device comes from the driver
                memory: unsafe { result::device::total_mem(device) }.map_err(told)?,
                capability: capability(device)?,
                driver,
                multiprocessors: attribute(device, Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)? as u32,
                clock: 1e3 * f64::from(attribute(device, Attribute::CU_DEVICE_ATTRIBUTE_CLOCK_RATE)?),
            })
        };
        (0..n).map(one).collect()
    })
}

/// The version of CUDA that the driver serves.
fn driver_version() -> Result<(i32, i32), String> {
    let mut version = 0;
    // SAFETY: writes a number
    unsafe { sys::cuDriverGetVersion(&mut version) }.result().map_err(told)?;
    Ok((version / 1000, version % 1000 / 10))
}

fn attribute(device: sys::CUdevice, which: Attribute) -> Result<i32, String> {
    // SAFETY: the device comes from the driver
    unsafe { result::device::get_attribute(device, which) }.map_err(told)
}

fn capability(device: sys::CUdevice) -> Result<(i32, i32), String> {
    let major = attribute(device, Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
    Ok((major, attribute(device, Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?))
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
        let code = kernels(capability)?;
        // SAFETY: the context stays current on this thread until `drop`; the code ends in a zero
        let (module, stream) = unsafe {
            let context = result::primary_ctx::retain(device).map_err(told)?;
            result::ctx::set_current(context).map_err(told)?;
            let stream = result::stream::create(result::stream::StreamKind::NonBlocking).map_err(told)?;
            let module = result::module::load_data(code.as_ptr().cast());
            (module.map_err(|e| format!("{name} doesn't take the kernels: {}", told(e)))?, stream)
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
            stream,
            module,
            functions,
            launched: Vec::new(),
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
            for event in self.launched.iter().chain(&self.spare).flatten() {
                let _ = result::event::destroy(*event);
            }
            let _ = result::module::unload(self.module);
            let _ = result::stream::destroy(self.stream);
            let _ = result::primary_ctx::release(self.device);
        }
    }
}

// SAFETY of all that follows: memory, the stream and functions are the driver's own and live as long as `self`; the engine says
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

    fn upload(&mut self, to: Address, bytes: &[u8]) -> Outcome<()> {
        self.usage.sent += bytes.len() as u64;
        // from pageable memory: what is copied may change once the call has returned
        unsafe { result::memcpy_htod_async(to.0, bytes, self.stream) }.map_err(fault)
    }

    fn download(&mut self, from: Address, bytes: &mut [u8]) -> Outcome<()> {
        unsafe { result::memcpy_dtoh_async(bytes, from.0, self.stream) }.map_err(fault)?;
        self.wait()
    }

    fn launch(&mut self, launch: &Launch<'_>) -> Outcome<()> {
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
        self.launched.push([before, after]);
        let queue = self.stream;
        unsafe {
            result::event::record(before, queue).map_err(fault)?;
            result::launch_kernel(function, blocks, threads, launch.shared, queue, &mut arguments)
                .map_err(|e| Fault::Failed(format!("{}: {}", launch.kernel, told(e))))?;
            result::event::record(after, queue).map_err(fault)
        }
    }

    fn wait(&mut self) -> Outcome<()> {
        unsafe { result::stream::synchronize(self.stream) }.map_err(fault)?;
        for [before, after] in self.launched.drain(..) {
            // a launch that failed has no time
            let milliseconds = unsafe { result::event::elapsed(before, after) }.unwrap_or(0.0);
            self.usage.kernels += f64::from(milliseconds) / 1e3;
            self.spare.push([before, after]);
        }
        Ok(())
    }
}

/// The kernels with a zero at the end, from the cache or compiled: as PTX, which the driver takes further, or as machine code where
/// NVRTC is newer than what the driver understands of PTX.
fn kernels((major, minor): (i32, i32)) -> Result<Vec<u8>, String> {
    let (nvrtc, driver) = (nvrtc_version()?, driver_version()?);
    let kind = if nvrtc > driver { "sm" } else { "compute" };
    let architecture = format!("{kind}_{major}{minor}");
    let key = cache::Key::new(&architecture, nvrtc, driver, &[SOURCE, HEADER]);
    key.get_or(|| {
        let _span = crate::trace::span("compilation");
        guarded("NVRTC", || compile(&architecture))
    })
}

/// A program of NVRTC's, which ends with it.
struct Program(nvrtc::sys::nvrtcProgram);

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: made by NVRTC, and nobody else's
        let _ = unsafe { nvrtc::result::destroy_program(self.0) };
    }
}

/// Compiles the kernels: to machine code for `sm_…`, else to PTX.
fn compile(architecture: &str) -> Result<Vec<u8>, String> {
    let text = |text: &str| CString::new(text).map_err(|e| e.to_string());
    let (source, header, header_name, name) = (text(SOURCE)?, text(HEADER)?, text(HEADER_NAME)?, text("gram.cu")?);
    let (headers, header_names) = ([header.as_ptr()], [header_name.as_ptr()]);
    let mut program = ptr::null_mut();
    // SAFETY: all strings and arrays outlive the program
    let created = unsafe {
        nvrtc::sys::nvrtcCreateProgram(
            &mut program,
            source.as_ptr(),
            name.as_ptr(),
            1,
            headers.as_ptr(),
            header_names.as_ptr(),
        )
    };
    created.result().map_err(|e| e.to_string())?;
    let program = Program(program);
    let options = [format!("--gpu-architecture={architecture}"), "--std=c++17".into()];
    // SAFETY: the program is NVRTC's; as many bytes are written as it says
    let compiled = unsafe {
        nvrtc::result::compile_program(program.0, &options).and_then(|()| {
            if !architecture.starts_with("sm") {
                return nvrtc::result::get_ptx(program.0).map(|ptx| ptx.into_iter().map(|c| c as u8).collect());
            }
            let mut bytes = 0;
            nvrtc::sys::nvrtcGetCUBINSize(program.0, &mut bytes).result()?;
            let mut code = vec![0u8; bytes + 1];
            nvrtc::sys::nvrtcGetCUBIN(program.0, code.as_mut_ptr().cast()).result()?;
            Ok(code)
        })
    };
    compiled.map_err(|e| {
        // SAFETY: as above
        let said = unsafe { nvrtc::result::get_program_log(program.0) }.unwrap_or_default();
        let said: Vec<u8> = said.into_iter().map(|c| c as u8).take_while(|&c| c != 0).collect();
        format!("NVRTC can't compile for {architecture}: {e}: {}", String::from_utf8_lossy(&said))
    })
}
