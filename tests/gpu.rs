//! The GPU kernels without a GPU: built for the host, the whole program fits on them; by NVIDIA's compiler they need no more
//! registers than there are.

mod common;

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::ptr;
use std::sync::OnceLock;

use common::files::Sample;
use common::{Run, alone, json, parameters, scratch, summary, with_ranks};
use libloading::{Library, Symbol};
use serde_json::Value;

/// Builds a file of `kernels/emulation` as a library of that name.
fn built(source: &str, name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels/emulation").join(source);
    let mut command = Command::new("c++");
    command.args(["-std=c++20", "-O2", "-march=native", "-ffp-contract=off", "-fPIC", "-shared", "-o"]);
    assert!(command.arg(&path).arg(source).status().expect("a C++ compiler").success());
    path
}

/// The kernels built for this host.
fn library() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| built("library.cpp", "kernels.so"))
}

/// A fit on so many ranks, 0 = alone, whose passes are made by the kernels.
fn on_gpu(folder: &Path, ranks: usize, more: &[&str]) -> Run {
    let arguments = [&["--config", "config.yaml", "--threads", "1"], more].concat();
    let run = if ranks == 0 { alone(folder, &arguments) } else { with_ranks(ranks, folder, &arguments) };
    run.env("HOMODYNE_EMULATED_GPU", library().to_str().unwrap())
}

/// That two fits have found the same, but for rounding.
#[track_caller]
fn assert_same_minimum(found: &Value, expected: &Value) {
    assert_eq!(found["convergence_status"], "converged");
    for (name, own) in expected["parameters"].as_object().unwrap() {
        let number = |value: &Value, key: &str| value[key].as_f64().unwrap_or(f64::NAN);
        let (other, value, error) = (&found["parameters"][name], number(own, "value"), number(own, "uncertainty"));
        assert!((number(other, "value") - value).abs() < 1e-5 * error, "{name}: {other} {own}");
        assert!((number(other, "uncertainty") / error - 1.0).abs() < 1e-6, "{name}: {other} {own}");
    }
}

#[test]
fn the_whole_program_fits_on_the_kernels() {
    let folder = scratch();
    let folder = folder.path();
    let results = folder.join("homodyne_results");
    let mut expected = Value::Null;
    for (sample, more) in [(Sample::STILL, &["--set", "optimization.nlsq.loss=soft_l1"][..]), (Sample::FLOW, &[])] {
        sample.make(folder);
        let arguments = [&["--config", "config.yaml", "--output-dir", "cpu"], more].concat();
        alone(folder, &arguments).success();
        let outcome = on_gpu(folder, 0, more).success();
        assert!(outcome.stdout.contains("emulated GPU"), "{outcome}");
        assert_eq!(summary(&results)["device"], "cuda");
        expected = parameters(&results);
        assert_same_minimum(&expected, &parameters(&folder.join("cpu")));
        on_gpu(folder, 2, more).success();
        assert_eq!(parameters(&results), expected, "2 ranks");
    }
    // stopped and gone on with, in rounds too
    let stopped = on_gpu(folder, 0, &[]).env("HOMODYNE_FAULT", "0:6:signal").env("HOMODYNE_ROUND_MS", "1").outcome();
    assert_eq!(stopped.code, Some(75), "{stopped}");
    on_gpu(folder, 2, &[]).success();
    assert_eq!(parameters(&results), expected);
    // what it can't do is left to the CPU
    on_gpu(folder, 0, &["--set", "device.precision=mixed"]).success();
    assert_eq!(summary(&results)["device"], "cpu");
    for unfit in [["--set", "device.precision=mixed"], ["--strategy", "streaming"]] {
        let refused = on_gpu(folder, 0, &[&["--device", "cuda"], &unfit[..]].concat()).outcome();
        refused.assert_error(2, &["can't be had on GPUs", "--device cpu"]);
    }
    on_gpu(folder, 0, &["--device", "cpu"]).success();
    assert_eq!(summary(&results)["device"], "cpu");
    let none = alone(folder, &["--config", "config.yaml", "--device", "cuda"])
        .env("HOMODYNE_EMULATED_GPU", "/no/kernels.so")
        .outcome();
    none.assert_error(5, &["/no/kernels.so"]);
    assert_eq!(json(&results.join("nlsq/convergence_metrics.json"))["device_info"]["kind"], "cpu");
}

#[test]
fn without_a_gpu_the_cpu_is_used_or_the_lack_of_one_told() {
    let folder = scratch();
    let folder = folder.path();
    Sample::STILL.make(folder);
    // SAFETY: NVIDIA's driver, whose initialisers are its own affair
    if unsafe { Library::new("libcuda.so.1") }.is_ok() {
        println!("left out: there is an NVIDIA driver here");
        return;
    }
    let told = "no NVIDIA driver is installed";
    let used = alone(folder, &["--config", "config.yaml"]).success();
    assert_eq!(used.stderr.matches(&format!("info: the CPU is used: {told}")).count(), 1, "{used}");
    assert!(!alone(folder, &["--config", "config.yaml", "--device", "cpu"]).success().stderr.contains(told));
    for ranks in [0, 2] {
        let arguments = ["--config", "config.yaml", "--device", "cuda", "--output-dir", "new"];
        let run = if ranks == 0 { alone(folder, &arguments) } else { with_ranks(ranks, folder, &arguments) };
        run.outcome().assert_error(5, &["GPU: ", told, "libcuda.so.1"]);
        assert!(!folder.join("new").exists(), "nothing is begun");
    }
}

#[test]
fn the_status_of_devices_is_shown_and_the_cache_emptied() {
    let folder = scratch();
    let folder = folder.path();
    let shown = alone(folder, &["device", "status", "--json", "device.json"]).success();
    for part in ["Processor", "cores", "instruction set", "limit of a run", "GPUs", "NVRTC", "Recommended"] {
        assert!(shown.stdout.contains(part), "{part}: {shown}");
    }
    let status = json(&folder.join("device.json"));
    assert!(status["cpu"]["cores"].as_u64().unwrap() >= 1, "{status}");
    assert!(status["cpu"]["memory_limit_bytes"].as_f64().unwrap() > 0.0, "{status}");
    assert_eq!(status["gpus"].as_array().unwrap().is_empty(), status["no_gpu_because"].is_string(), "{status}");
    let kept = folder.join("cache/homodyne-mpi/kernels");
    std::fs::create_dir_all(&kept).unwrap();
    for name in ["a.ptx", "b.ptx", "notes.txt"] {
        std::fs::write(kept.join(name), "x").unwrap();
    }
    let clear =
        || alone(folder, &["device", "clear-cache"]).env("XDG_CACHE_HOME", folder.join("cache").to_str().unwrap());
    assert!(clear().success().stdout.starts_with("2 file(s)"));
    assert!(clear().success().stdout.starts_with("0 file(s)"));
    assert!(kept.join("notes.txt").exists());
}

#[test]
fn the_drivers_layer_fits_on_a_driver_that_is_emulated() {
    let Some(nvrtc) = nvrtc() else { return };
    let folder = scratch();
    let folder = folder.path();
    let driver = built("driver.cpp", "libcuda.so.1");
    // the dynamic loader's own list comes last
    let found = format!("{}:{}", driver.parent().unwrap().display(), nvrtc.parent().unwrap().display());
    let cache = folder.join("cache");
    let on_driver = |arguments: &[&str]| {
        let run = alone(folder, arguments).env("LD_LIBRARY_PATH", &found);
        run.env("XDG_CACHE_HOME", cache.to_str().unwrap())
    };
    Sample::FLOW.make(folder);
    on_gpu(folder, 0, &[]).success();
    let expected = parameters(&folder.join("homodyne_results"));
    let fit = ["--config", "config.yaml", "--threads", "1", "--output-dir", "driver"];
    for (device, said) in [("auto", "compiling with NVRTC 12.9"), ("cuda", "cached in")] {
        let outcome = on_driver(&[&fit[..], &["--device", device]].concat()).success();
        assert!(outcome.stderr.contains(said) && outcome.stdout.contains("emulated driver's GPU"), "{outcome}");
        assert_eq!(parameters(&folder.join("driver")), expected, "{device}");
    }
    let cuda = [&fit[..], &["--device", "cuda"]].concat();
    // another one's kernels, or half a file
    let kept = std::fs::read_dir(cache.join("homodyne-mpi/kernels")).unwrap().next().unwrap().unwrap().path();
    std::fs::write(&kept, "// half").unwrap();
    assert!(on_driver(&cuda).success().stderr.contains("compiling"));
    // half of what the driver says is free isn't
    let short = on_driver(&cuda).env("EMULATED_DRIVER", "memory:1000000").success();
    assert!(short.stderr.contains("too little memory; batches are halved"), "{short}");
    assert_eq!(parameters(&folder.join("driver")), expected);
    let fault = |device: &str| {
        on_driver(&[&fit[..], &["--device", device]].concat()).env("EMULATED_DRIVER", "launch:1").outcome()
    };
    fault("cuda").assert_error(5, &["emulated driver's GPU: gram_quartic: an illegal memory access"]);
    let cpu = fault("auto");
    assert!(cpu.code == Some(0) && cpu.stderr.contains("illegal memory access"), "{cpu}");
    assert!(
        cpu.stderr.contains("the CPU is used")
            && cpu.stdout.contains("engine                auto                  CPU"),
        "{cpu}"
    );
    let status = on_driver(&["device", "status"]).success();
    assert!(status.stdout.contains("0  emulated driver's GPU: 1.0 GB, compute capability 8.0"), "{status}");
}

/// NVRTC's library, where `scripts/setup.sh --tests` could fetch it.
fn nvrtc() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/nvrtc/nvidia/cuda_nvrtc/lib/libnvrtc.so.12");
    if !path.exists() {
        println!("left out: {} isn't there, which scripts/setup.sh --tests fetches from PyPI", path.display());
        return None;
    }
    Some(path)
}

/// The same, loaded.
struct Nvrtc(Library);

impl Nvrtc {
    fn load() -> Option<Self> {
        let path = nvrtc()?;
        // SAFETY: NVIDIA's compiler library, whose initialisers are its own affair
        Some(Self(unsafe { Library::new(path) }.unwrap()))
    }

    /// Compiles the kernels; gives what the compiler said of them.
    fn compile(&self, architecture: &str) -> String {
        type Program = *mut c_void;
        let text = |file: &str| {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels").join(file);
            CString::new(std::fs::read_to_string(path).unwrap()).unwrap()
        };
        let (source, header) = (text("gram.cu"), text("model.cuh"));
        let options = [&format!("--gpu-architecture={architecture}"), "--std=c++17", "--ptxas-options=-v"];
        let options: Vec<CString> = options.iter().map(|option| CString::new(*option).unwrap()).collect();
        let pointers: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();
        // SAFETY: signatures as nvrtc.h of CUDA 12.9 has them; all strings outlive the calls
        unsafe {
            type Create = unsafe extern "C" fn(
                *mut Program,
                *const c_char,
                *const c_char,
                c_int,
                *const *const c_char,
                *const *const c_char,
            ) -> c_int;
            let create: Symbol<Create> = self.0.get(b"nvrtcCreateProgram\0").unwrap();
            let compile: Symbol<unsafe extern "C" fn(Program, c_int, *const *const c_char) -> c_int> =
                self.0.get(b"nvrtcCompileProgram\0").unwrap();
            let size: Symbol<unsafe extern "C" fn(Program, *mut usize) -> c_int> =
                self.0.get(b"nvrtcGetProgramLogSize\0").unwrap();
            let log: Symbol<unsafe extern "C" fn(Program, *mut c_char) -> c_int> =
                self.0.get(b"nvrtcGetProgramLog\0").unwrap();
            let mut program: Program = ptr::null_mut();
            let name = c"gram.cu".as_ptr();
            let (headers, included) = ([header.as_ptr()], [c"model.cuh".as_ptr()]);
            assert_eq!(create(&mut program, source.as_ptr(), name, 1, headers.as_ptr(), included.as_ptr()), 0);
            let code = compile(program, pointers.len() as c_int, pointers.as_ptr());
            let mut bytes = 0;
            size(program, &mut bytes);
            let mut said = vec![0u8; bytes + 1];
            log(program, said.as_mut_ptr().cast());
            let said = CStr::from_bytes_until_nul(&said).unwrap().to_string_lossy().into_owned();
            assert_eq!(code, 0, "{architecture}: {said}");
            said
        }
    }
}

#[test]
fn nvidias_compiler_takes_the_kernels_without_spills() {
    let Some(nvrtc) = Nvrtc::load() else { return };
    // beyond so many registers a multiprocessor holds fewer than three blocks of 128 threads
    const MOST: usize = 65536 / (3 * 128);
    for architecture in ["compute_70", "compute_80", "compute_86", "compute_89", "compute_90"] {
        nvrtc.compile(architecture);
    }
    println!("registers of the kernels, by NVRTC's ptxas");
    for architecture in ["sm_70", "sm_80", "sm_86", "sm_89", "sm_90"] {
        let said = nvrtc.compile(architecture);
        let mut kernels = Vec::new();
        let mut name = "";
        for line in said.lines() {
            if let Some((_, rest)) = line.split_once("Compiling entry function '") {
                name = rest.split('\'').next().unwrap();
            }
            assert!(
                !line.contains("spill stores") || line.contains(" 0 bytes spill stores, 0 bytes spill loads"),
                "{line}"
            );
            if let Some((_, rest)) = line.split_once("Used ") {
                let registers: usize = rest.split(' ').next().unwrap().parse().unwrap();
                // pairs with weights of their own need more: two blocks
                let most = if name.starts_with("robust") { 65536 / (2 * 128) } else { MOST };
                assert!(registers <= most, "{architecture} {name}: {registers} registers");
                kernels.push(format!("{name} {registers}"));
            }
        }
        assert_eq!(kernels.len(), 16, "{said}");
        println!("{architecture}: {}", kernels.join(", "));
    }
}
