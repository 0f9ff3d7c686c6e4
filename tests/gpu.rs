//! The GPU kernels without a GPU: built for the host, the whole program fits on them; by NVIDIA's compiler they need no more
//! registers than there are.

mod ptx;

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::OnceLock;

use crate::common::draws::{FEW, said};
use crate::common::files::Sample;
use crate::common::kernels::built;
use crate::common::{Run, alone, json, parameters, scratch, summary, with_ranks};
use homodyne_mpi::gram::gpu::{COUNTS, Count};
use libloading::{Library, Symbol};
use serde_json::Value;

/// The kernels built for this host.
fn library() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| built("library.cpp", "kernels.so"))
}

/// Under shear, and small: the emulation is slow.
const FLOW: Sample = Sample { frames: 140, noise: 0.003, ..Sample::FLOW };

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
    for (sample, more) in [(Sample::STILL, &["--set", "optimization.nlsq.loss=soft_l1"][..]), (FLOW, &[])] {
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
    // stopped and gone on with
    let stopped = on_gpu(folder, 0, &[]).env("HOMODYNE_FAULT", "0:6:signal").outcome();
    assert_eq!(stopped.code, Some(75), "{stopped}");
    on_gpu(folder, 2, &[]).success();
    assert_eq!(parameters(&results), expected);
    // without room on it
    let small = ["--set", "device.memory_fraction=0.0001"];
    let cpu = on_gpu(folder, 0, &small).success();
    assert!(cpu.stderr.contains("no room for") && cpu.stderr.contains("the CPU is used"), "{cpu}");
    on_gpu(folder, 0, &[&small[..], &["--device", "cuda"]].concat()).outcome().assert_error(5, &["no room for"]);
    // where the pairs aren't kept, nodes need no GPU
    let streamed = on_gpu(folder, 0, &["--strategy", "streaming"]).success();
    assert!(streamed.stderr.contains("the CPU is used"), "{streamed}");
    assert_same_minimum(&parameters(&results), &expected);
    // pairs in f32 end a thousandth of the errors away at most
    on_gpu(folder, 0, &["--set", "device.precision=mixed"]).success();
    let mixed = parameters(&results);
    assert_ne!(mixed, expected);
    for (name, own) in expected["parameters"].as_object().unwrap() {
        let number = |value: &Value, key: &str| value[key].as_f64().unwrap();
        let apart = number(&mixed["parameters"][name], "value") - number(own, "value");
        assert!(apart.abs() < 1e-3 * number(own, "uncertainty"), "{name}: {mixed} {own}");
    }
    let metrics = json(&results.join("nlsq/convergence_metrics.json"));
    let gpu = &metrics["device_info"]["ranks"][0]["gpu"];
    for key in ["peak_memory_bytes", "sent_bytes", "kernel_seconds"] {
        assert!(gpu[key].as_f64().unwrap() > 0.0, "{key}: {gpu}");
    }
    on_gpu(folder, 0, &["--device", "cpu"]).success();
    assert_eq!(summary(&results)["device"], "cpu");
    let none = alone(folder, &["--config", "config.yaml", "--device", "cuda"])
        .env("HOMODYNE_EMULATED_GPU", "/no/kernels.so")
        .outcome();
    none.assert_error(5, &["/no/kernels.so"]);
    let metrics = json(&results.join("nlsq/convergence_metrics.json"));
    assert_eq!(metrics["device_info"]["kind"], "cpu");
    assert_eq!(metrics["device_info"]["ranks"][0]["gpu"], Value::Null);
}

#[test]
fn draws_on_the_kernels_are_distributed_as_those_on_the_cpu() {
    let folder = scratch();
    let folder = folder.path();
    Sample::STILL.make(folder);
    let own = ["--config", "config.yaml", "--device", "cpu", "--output-dir", "cpu"];
    let cpu = alone(folder, &[&own[..], &FEW].concat()).outcome();
    assert!(matches!(cpu.code, Some(0 | 4)), "{cpu}");
    for (ranks, output) in [(0, "gpu"), (2, "two")] {
        let outcome = on_gpu(folder, ranks, &[&["--output-dir", output], &FEW[..]].concat()).outcome();
        assert!(matches!(outcome.code, Some(0 | 4)), "{outcome}");
        assert_eq!(summary(&folder.join(output))["device"], "cuda");
        assert_eq!(said(folder, output), said(folder, "gpu"), "{ranks} ranks");
    }
    // sums that are rounded otherwise lead chains elsewhere in the end, but not to another distribution
    let (gpu, cpu) = (said(folder, "gpu"), said(folder, "cpu"));
    for name in ["D0", "alpha", "D_offset", "sigma", "D_at_t_ref"] {
        let (gpu, cpu) = (&gpu["quantities"][name], &cpu["quantities"][name]);
        let both = |key: &str| (gpu[key].as_f64().unwrap(), cpu[key].as_f64().unwrap());
        let (means, errors) = (both("mean"), both("mcse_mean"));
        assert!((means.0 - means.1).abs() < 5.0 * errors.0.hypot(errors.1), "{name}: {gpu} {cpu}");
    }
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
    for name in ["a.gpu", "b.gpu", "notes.txt"] {
        std::fs::write(kept.join(name), "x").unwrap();
    }
    let clear =
        || alone(folder, &["device", "clear-cache"]).env("XDG_CACHE_HOME", folder.join("cache").to_str().unwrap());
    assert!(clear().success().stdout.starts_with("2 file(s)"));
    assert!(clear().success().stdout.starts_with("0 file(s)"));
    assert!(kept.join("notes.txt").exists());
}

#[test]
fn cpu_and_gpu_are_compared() {
    let folder = scratch();
    let folder = folder.path();
    let bench = ["device", "bench", "--quick", "--threads", "1", "--json", "bench.json"];
    let rows = |bench: &Value| -> Vec<(String, bool)> {
        let rows = bench["rows"].as_array().unwrap();
        let row = |row: &Value| {
            assert!(row["cpu_seconds"].as_f64().unwrap() > 0.0, "{row}");
            assert_eq!(row["speed_up"].is_number(), row["gpu_seconds"].is_number());
            (row["what"].as_str().unwrap().to_owned(), row["gpu_seconds"].is_number())
        };
        rows.iter().map(row).collect()
    };
    let kinds = ["c2 of the model", "residuals (χ² pass)", "whole pass", "whole pass", "whole fit"];
    let expected = |with: bool| kinds.map(|kind| (kind.to_owned(), with)).to_vec();
    let library = library().to_str().unwrap();
    let both = alone(folder, &bench).env("HOMODYNE_EMULATED_GPU", library).success();
    assert!(both.stdout.contains("GPU:  emulated GPU") && both.stdout.contains("50–100×"), "{both}");
    assert_eq!(rows(&json(&folder.join("bench.json"))), expected(true));
    let check = alone(folder, &["device", "check", "--quick"]).env("HOMODYNE_EMULATED_GPU", library).success();
    assert!(check.stdout.contains("unknown") && !check.stdout.contains("WRONG"), "{check}");
    // SAFETY: NVIDIA's driver, whose initialisers are its own affair
    if unsafe { Library::new("libcuda.so.1") }.is_err() {
        let cpu = alone(folder, &[&bench[..], &["--force"]].concat()).success();
        assert!(cpu.stdout.contains("GPU:  none, no NVIDIA driver is installed"), "{cpu}");
        assert_eq!(rows(&json(&folder.join("bench.json"))), expected(false));
        alone(folder, &["device", "check"]).outcome().assert_error(5, &["no NVIDIA driver is installed"]);
    }
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
    for (device, said) in [("auto", "GPU kernels are compiled because none are in"), ("cuda", "cached in")] {
        let run = on_driver(&[&fit[..], &["--device", device]].concat());
        let outcome = run.env("HOMODYNE_LOG_COMPILES", "1").success();
        assert!(outcome.stderr.contains(said) && outcome.stdout.contains("emulated driver's GPU"), "{outcome}");
        assert_eq!(parameters(&folder.join("driver")), expected, "{device}");
    }
    let cuda = [&fit[..], &["--device", "cuda"]].concat();
    // another one's kernels, or half a file
    let files = || std::fs::read_dir(cache.join("homodyne-mpi/kernels")).unwrap().map(|entry| entry.unwrap().path());
    let kept = files().next().unwrap();
    std::fs::write(&kept, "// half").unwrap();
    let again = on_driver(&cuda).success();
    assert!(again.stderr.contains("compiling with NVRTC 12.9") && !again.stderr.contains("because"), "{again}");
    // PTX of this NVRTC is too new for an older driver
    let older = on_driver(&cuda).env("EMULATED_DRIVER", "version:12020").env("HOMODYNE_LOG_COMPILES", "1").success();
    assert!(older.stderr.contains("driver 12.9 instead of driver 12.2"), "{older}");
    assert_eq!(parameters(&folder.join("driver")), expected);
    assert!(
        files().any(|path| path.file_name().unwrap().to_str().unwrap().starts_with("sm_80-NVRTC_12.9-driver_12.2"))
    );
    // half of what the driver says is free isn't
    let short = on_driver(&cuda).env("EMULATED_DRIVER", "memory:1500000").success();
    assert!(short.stderr.contains("too little memory; fewer points at once"), "{short}");
    assert_eq!(parameters(&folder.join("driver")), expected);
    on_driver(&cuda).env("EMULATED_DRIVER", "memory:500000").outcome().assert_error(5, &["no room for"]);
    let fault = |device: &str| {
        on_driver(&[&fit[..], &["--device", device]].concat()).env("EMULATED_DRIVER", "launch:1").outcome()
    };
    fault("cuda").assert_error(5, &["emulated driver's GPU: gram_quartic: an illegal memory access"]);
    let cpu = fault("auto");
    assert!(cpu.code == Some(0) && cpu.stderr.contains("illegal memory access"), "{cpu}");
    assert!(
        cpu.stderr.contains("the CPU is used") && cpu.stdout.contains("engine                auto            CPU"),
        "{cpu}"
    );
    let check = on_driver(&["device", "check", "--quick", "--seed", "1"]).success();
    for part in ["1 multiprocessors, at most 1.00 GHz", "sums with pairs in f32", "gram_quartic", "333.33 M", "Done in"]
    {
        assert!(check.stdout.contains(part), "{part}: {check}");
    }
    assert!(!check.stdout.contains("WRONG"), "{check}");
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

    /// Compiles the kernels; gives what the compiler said of them, and PTX.
    fn compile(&self, architecture: &str) -> (String, String) {
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
            let size: Symbol<unsafe extern "C" fn(Program, *mut usize) -> c_int> =
                self.0.get(b"nvrtcGetPTXSize\0").unwrap();
            let ptx: Symbol<unsafe extern "C" fn(Program, *mut c_char) -> c_int> =
                self.0.get(b"nvrtcGetPTX\0").unwrap();
            let mut text = vec![0u8; 1];
            // there is none where machine code was asked for
            if size(program, &mut bytes) == 0 && bytes > 0 {
                text.resize(bytes + 1, 0);
                assert_eq!(ptx(program, text.as_mut_ptr().cast()), 0);
            }
            (said, CStr::from_bytes_until_nul(&text).unwrap().to_string_lossy().into_owned())
        }
    }
}

#[test]
fn nvidias_compiler_takes_the_kernels_without_spills() {
    let Some(nvrtc) = Nvrtc::load() else { return };
    // beyond so many registers a multiprocessor holds fewer than three blocks of 128 threads
    const MOST: usize = 65536 / (3 * 128);
    println!("registers of the kernels, by NVRTC's ptxas");
    for architecture in ["sm_70", "sm_80", "sm_86", "sm_89", "sm_90"] {
        let (said, _) = nvrtc.compile(architecture);
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
        assert_eq!(kernels.len(), 19, "{said}");
        println!("{architecture}: {}", kernels.join(", "));
    }
}

#[test]
fn the_inner_loop_has_as_many_instructions_as_were_counted() {
    let Some(nvrtc) = Nvrtc::load() else { return };
    let (_, ptx) = nvrtc.compile("compute_80");
    println!(
        "floating-point instructions for a pair far from the diagonal, in PTX and by hand, without the reciprocal"
    );
    for Count { kernel, single, plain, .. } in COUNTS {
        let found = ptx::per_pair(&ptx, kernel, if single { "f32" } else { "f64" });
        let ratio = found / f64::from(plain);
        println!("{kernel}: {found} in PTX, {plain} by hand, {ratio:.2}");
        assert!(ratio < 1.3 && ratio > 0.8, "{kernel}: {found} in PTX, {plain} by hand");
    }
}
