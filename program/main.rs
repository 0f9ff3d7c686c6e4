//! The program: parses the command line, starts MPI for commands that compute, and turns the outcome into an exit code.

#[cfg(feature = "mpi")]
mod mpi;

use std::io::{IsTerminal, Write};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use clap::error::ErrorKind;
use log::LevelFilter;

use homodyne_mpi::benchmark::{Extent, Plan};
use homodyne_mpi::cli::{
    BenchmarkArgs, CheckpointCommand, Cli, Command, CompareArgs, ConfigCommand, ConvertArgs, DeviceCommand, FitArgs,
    InspectArgs, LayoutName, ModeName, NO_CONFIG, SimulateArgs, Verbosity, refused,
};
use homodyne_mpi::cluster::{Mpi, World, stop, worker};
use homodyne_mpi::commands::outputs::{self, Named};
use homodyne_mpi::commands::recording::Wanted;
use homodyne_mpi::commands::synthetic::Size;
use homodyne_mpi::commands::{Asked, Going, Plots};
use homodyne_mpi::config::{self, Config, Overrides, PlotConfig};
use homodyne_mpi::dataset::{Layout, Selection};
use homodyne_mpi::model::AnalysisMode;
use homodyne_mpi::output::Results;
use homodyne_mpi::text::printable;
use homodyne_mpi::{Error, Result, commands, signals, telemetry, version};

/// The MPI that the program is built with, if any.
#[cfg(feature = "mpi")]
const MPI: Option<Mpi> = Some(mpi::MPI);
#[cfg(not(feature = "mpi"))]
const MPI: Option<Mpi> = None;

/// Exit code of a rank that panicked.
const PANICKED: u8 = 5;

/// What to tell those who type a configuration file, or `fit`, where a command stands.
const TO_FIT: &str = "\nTo fit: homodyne-mpi --config FILE\n";

/// Time for the first rank to say what is wrong before the end of another makes the launcher end them all.
const FIRST_SPEAKS: Duration = Duration::from_millis(300);

fn main() -> ExitCode {
    version::set_commit(env!("HOMODYNE_GIT_COMMIT"));
    signals::let_large_writes_fail();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(answer) => return not_parsed(&answer),
    };
    if !matches!(cli.command, None | Some(Command::Benchmark(_))) {
        signals::clean_up_when_ended();
    }
    let outcome = match refused(&cli) {
        Some(message) => Err(Error::Usage(message)),
        // one of many processes does the work of a command that knows nothing of ranks
        None => match cli.command {
            None => return with_ranks(cli.fit.verbosity, |world| drive(world, &cli.fit)),
            Some(Command::Benchmark(args)) => return with_ranks(args.verbosity, |world| benchmark(world, &args)),
            Some(_) if !launched_as_first() => Ok(()),
            Some(Command::Simulate(args)) => simulate(&args),
            Some(Command::Inspect(args)) => inspect(&args),
            Some(Command::Convert(args)) => convert(&args),
            Some(Command::Compare(args)) => compare(&args),
            Some(Command::Config(args)) => configuration(&args.command),
            Some(Command::Checkpoint(args)) => checkpoint(&args.command),
            Some(Command::Device(args)) => device(&args.command),
            Some(Command::Completions(args)) => commands::completions(args.shell, &mut std::io::stdout()),
        },
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed_before_mpi(&error),
    }
}

/// Shows help, version, or what is wrong with the command line, once for all ranks.
fn not_parsed(answer: &clap::Error) -> ExitCode {
    let code = ExitCode::from(answer.exit_code() as u8);
    if !launched_as_first() {
        std::thread::sleep(FIRST_SPEAKS);
        return code;
    }
    let styled = answer.render();
    let hint = if answer.kind() == ErrorKind::InvalidSubcommand { TO_FIT } else { "" };
    let text = |terminal: bool| if terminal { format!("{}{hint}", styled.ansi()) } else { format!("{styled}{hint}") };
    if answer.use_stderr() {
        write_whole(&text(std::io::stderr().is_terminal()));
    } else {
        // a reader that has heard enough is no failure
        let text = text(std::io::stdout().is_terminal());
        let _ = std::io::stdout().write_all(text.as_bytes()).and_then(|()| std::io::stdout().flush());
    }
    code
}

/// Says what went wrong, once for all ranks; to be called only while they don't know of each other.
fn failed_before_mpi(error: &Error) -> ExitCode {
    if launched_as_first() {
        say(error);
    } else {
        std::thread::sleep(FIRST_SPEAKS);
    }
    error.exit_code().into()
}

fn say(error: &Error) {
    let kind = if matches!(error, Error::Stopped(_)) { "stopped" } else { "error" };
    write_whole(&printable(&format!("{kind}: {error}\n")));
}

/// Writes to stderr at once: what ranks write in pieces comes out mixed.
fn write_whole(text: &str) {
    // nowhere is left to say that this failed
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Whether the launcher, if any, calls this the first process: before MPI starts, one of many must do the talking.
fn launched_as_first() -> bool {
    ["OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok())
        .is_none_or(|rank| rank == "0")
}

fn level(verbosity: Verbosity, configured: Option<LevelFilter>) -> LevelFilter {
    match (verbosity.quiet, verbosity.verbose) {
        (true, _) => LevelFilter::Error,
        (false, 0) => configured.unwrap_or(LevelFilter::Info),
        (false, 1) => LevelFilter::Debug,
        (false, _) => LevelFilter::Trace,
    }
}

/// Where a command prints what it has to say.
fn out(verbosity: Verbosity) -> Box<dyn Write> {
    if verbosity.quiet { Box::new(std::io::sink()) } else { Box::new(std::io::stdout()) }
}

/// Says what was noticed in the configuration.
fn tell(config: &Config) {
    for warning in &config.warnings {
        log::warn!("{warning}");
    }
    if !config.ignored_keys.is_empty() {
        log::info!(
            "{}: {} keys of other programs have no meaning here (-v lists them)",
            config.path.display(),
            config.ignored_keys.len()
        );
        for key in &config.ignored_keys {
            log::debug!("no meaning here: {key}");
        }
    }
}

/// The paths among these that were given, as messages call them.
fn named<'a>(paths: &[(&'a str, Option<&'a Path>)]) -> Vec<Named<'a>> {
    paths.iter().filter_map(|&(what, path)| path.map(|path| (what, path))).collect()
}

/// Refuses a `--json` that would be written over something, one of the command's inputs above all.
fn check_json(json: Option<&Path>, inputs: &[PathBuf], force: bool) -> Result<()> {
    let inputs: Vec<Named> = inputs.iter().map(|path| ("an input", &**path)).collect();
    outputs::check(&named(&[("--json", json)]), &inputs, force)
}

fn simulate(args: &SimulateArgs) -> Result<()> {
    let truth = commands::truth_beside(&args.out);
    let written = [("--out", &*args.out), ("the truth beside it", &*truth)];
    outputs::check(&written, &[("the configuration file", &args.config)], args.force)?;
    let overrides = Overrides { set: args.set.clone(), ..Overrides::default() };
    let config = config::load(&args.config, &overrides)?;
    telemetry::start_logging(level(args.verbosity, config.log_level), 0);
    tell(&config);
    let beside = args.out.parent().unwrap_or(Path::new(""));
    let plots = plots((args.plot, &args.plot_dir), beside, &config.plotting, args.force, vec![args.config.clone()]);
    commands::simulate(&config, &args.out, layout(args.layout), plots.as_ref(), &mut out(args.verbosity))?;
    Ok(())
}

fn inspect(args: &InspectArgs) -> Result<()> {
    let (mut selection, configured, plotting, limit) = match &args.config {
        None => (Selection::default(), None, PlotConfig::default(), None),
        Some(path) => {
            let config = config::load(path, &Overrides::default())?;
            (config.selection, config.log_level, config.plotting, config.performance.memory_limit_gb)
        }
    };
    telemetry::start_logging(level(args.verbosity, configured), 0);
    selection.q = args.q.or(selection.q);
    selection.dt = args.dt.or(selection.dt);
    let inputs = args.config.iter().chain([&args.file]).cloned().collect();
    let plots = plots((args.plot, &args.plot_dir), Path::new(""), &plotting, args.force, inputs);
    commands::inspect(&args.file, &selection, plots.as_ref(), limit, &mut std::io::stdout())
}

/// Where pictures go, if any are asked for.
fn plots(
    (wanted, folder): (bool, &Option<PathBuf>),
    default: &Path,
    config: &PlotConfig,
    force: bool,
    inputs: Vec<PathBuf>,
) -> Option<Plots> {
    let default = if default.as_os_str().is_empty() { Path::new(".") } else { default };
    let folder = folder.clone().or_else(|| wanted.then(|| default.to_path_buf()))?;
    Some(Plots { folder, config: config.clone(), inputs, force })
}

fn layout(name: LayoutName) -> Layout {
    match name {
        LayoutName::ApsU => Layout::ApsU,
        LayoutName::Native => Layout::Native,
    }
}

fn convert(args: &ConvertArgs) -> Result<()> {
    let config = args.config.as_ref().map(|path| config::load(path, &Overrides::default())).transpose()?;
    telemetry::start_logging(level(args.verbosity, config.as_ref().and_then(|c| c.log_level)), 0);
    let mut selection = config.as_ref().map_or_else(Selection::default, |c| c.selection.clone());
    selection.q = args.q.or(selection.q);
    selection.dt = args.dt.or(selection.dt);
    if !args.phi.is_empty() {
        selection.phi_ranges = Some(args.phi.clone());
        selection.fallback_to_all_angles = false;
    }
    if let Some((first, last)) = args.frames {
        (selection.start_frame, selection.end_frame) = (first, Some(last));
    }
    let conversion = commands::convert::Conversion {
        input: &args.input,
        output: &args.output,
        config: args.config.as_deref(),
        layout: layout(args.to),
        selection: &selection,
        gap: config.as_ref().and_then(|c| c.gap),
        gzip: args.compress,
        force: args.force,
        memory_limit_gb: config.as_ref().and_then(|c| c.performance.memory_limit_gb),
    };
    commands::convert(&conversion, &mut out(args.verbosity))
}

fn compare(args: &CompareArgs) -> Result<()> {
    let inputs = [&args.first, &args.second].map(|path| Results::files(path)).concat();
    check_json(args.json.as_deref(), &inputs, args.force)?;
    commands::compare(&args.first, &args.second, args.json.as_deref(), &mut std::io::stdout())
}

fn configuration(command: &ConfigCommand) -> Result<()> {
    match command {
        ConfigCommand::Check(args) => {
            // how the data were read is for `inspect`
            telemetry::start_logging(level(args.verbosity, Some(LevelFilter::Warn)), 0);
            let every_key = args.verbosity.verbose > 0;
            commands::config::check(&args.file, args.strict, every_key, &mut out(args.verbosity))
        }
        ConfigCommand::Reference => commands::config::reference(&mut std::io::stdout()),
        ConfigCommand::Init(args) => {
            telemetry::start_logging(level(args.verbosity, None), 0);
            let wanted = commands::config::Wanted {
                mode: match args.mode {
                    ModeName::Static => AnalysisMode::Static,
                    ModeName::LaminarFlow => AnalysisMode::LaminarFlow,
                },
                full: args.full,
                from_data: args.from_data.as_deref(),
                q: args.q,
                output: args.output.as_deref(),
                force: args.force,
            };
            // the text is the result, not talk about it
            commands::config::init(&wanted, &mut std::io::stdout())
        }
    }
}

fn checkpoint(command: &CheckpointCommand) -> Result<()> {
    match command {
        CheckpointCommand::List(args) => {
            // a folder that can't be read is told of by the command
            let entries = homodyne_mpi::checkpoint::list(&args.folder).unwrap_or_default();
            let inputs: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path).collect();
            check_json(args.json.as_deref(), &inputs, args.force)?;
            commands::checkpoint::list(&args.folder, args.json.as_deref(), &mut std::io::stdout())
        }
        CheckpointCommand::Verify(args) => commands::checkpoint::verify(&args.path, &mut out(args.verbosity)),
    }
}

fn device(command: &DeviceCommand) -> Result<()> {
    match command {
        DeviceCommand::Status { json, force } => {
            check_json(json.as_deref(), &[], *force)?;
            commands::device::status(MPI.as_ref(), json.as_deref(), &mut std::io::stdout())
        }
        DeviceCommand::Bench { threads, quick, json, force } => {
            check_json(json.as_deref(), &[], *force)?;
            let extent = if *quick { Extent::QUICK } else { Extent::WHOLE };
            commands::benchmark::thread_counts(threads.as_slice())?;
            commands::device::bench(*threads, extent, json.as_deref(), &mut std::io::stdout())
        }
        DeviceCommand::Check { seed, quick } => commands::device::check(*seed, *quick, &mut std::io::stdout()),
        DeviceCommand::ClearCache => commands::device::clear_cache(&mut std::io::stdout()),
    }
}

fn benchmark(world: &World, args: &BenchmarkArgs) -> Result<u8> {
    // of a fit within a benchmark only what is wrong is of interest
    let quiet = args.points.map(|_| LevelFilter::Warn);
    telemetry::start_logging(level(args.verbosity, quiet), 0);
    check_json(args.json.as_deref(), &[], args.force)?;
    if let Some(points) = args.points {
        let parameters = if args.parameters.as_deref() == Some("3") { 3 } else { 7 };
        let size = Size { points, parameters };
        return commands::synthetic::synthetic(world, size, args.json.as_deref(), &mut out(args.verbosity));
    }
    let threads = commands::benchmark::thread_counts(&args.threads)?;
    let plan = if args.quick { Plan::quick(threads) } else { Plan::whole(threads) };
    commands::benchmark(world, &plan, args.json.as_deref(), &mut out(args.verbosity))?;
    Ok(0)
}

/// Does `work` on rank 0 while the other ranks serve it. Whatever goes wrong on any rank, all ranks end: an error of rank 0
/// while the others wait is passed on to them; any other failure aborts the job.
fn with_ranks(verbosity: Verbosity, work: impl FnOnce(&World) -> Result<u8>) -> ExitCode {
    // what every process would refuse alike is refused before MPI starts
    let world = match homodyne_mpi::arithmetic::selected_instruction_set().and_then(|_| World::start(MPI.as_ref())) {
        Ok(world) => world,
        Err(error) => return failed_before_mpi(&error),
    };
    let rank = world.rank();
    if rank != 0 {
        // warnings; rank 0 starts its log when it has read the configuration
        telemetry::start_logging(level(verbosity, None), rank);
    }
    std::panic::set_hook(Box::new(move |info| {
        let message = info.payload_as_str().unwrap_or("no message");
        let place = info.location().map_or(String::new(), |l| format!(" ({}:{})", l.file(), l.line()));
        write_whole(&format!(
            "error: rank {rank} panicked: {message}{place}; this is a fault of the program, please report it\n"
        ));
    }));
    let own = || if rank == 0 { work(&world) } else { worker::serve(&world) };
    match std::panic::catch_unwind(AssertUnwindSafe(own)) {
        Ok(Ok(code)) => {
            if rank == 0 {
                stop(&world, code);
            }
            code.into()
        }
        Ok(Err(error)) => {
            say(&error);
            if rank != 0 || matches!(error, Error::Rank { .. }) {
                world.abort(error.exit_code());
            }
            stop(&world, error.exit_code());
            error.exit_code().into()
        }
        Err(_) => world.abort(PANICKED),
    }
}

/// Refuses a fit whose records would be written over something, or whose results would take an input away.
fn check_paths(args: &FitArgs, config: &Config) -> Result<()> {
    let resumed = args.resume.as_deref().filter(|word| !["auto", "never"].contains(word)).map(Path::new);
    let inputs = named(&[
        ("the configuration file", Some(&config.path)),
        ("the data file", config.data_file.as_deref()),
        ("the file of --truth", args.truth.as_deref()),
        ("the checkpoint to go on from", resumed),
    ]);
    let records = [("--trace", args.trace.as_deref()), ("--memory-profile", args.memory_profile.as_deref())];
    outputs::check(&named(&records), &inputs, args.force)?;
    outputs::check_stays(&inputs, &config.output.directory)
}

fn drive(world: &World, args: &FitArgs) -> Result<u8> {
    let path = args.config.as_ref().ok_or_else(|| Error::Usage(NO_CONFIG.into()))?;
    let config = config::load(
        path,
        &Overrides {
            set: args.set.clone(),
            data_file: args.data_file.clone(),
            output_dir: args.output_dir.clone(),
            threads: args.threads,
            strategy: args.strategy.map(|s| s.name().to_string()),
            device: args.device.map(|d| d.name().to_string()),
            method: args.method.map(|m| m.name().to_string()),
        },
    )?;
    telemetry::start_logging(level(args.verbosity, config.log_level), 0);
    if let Some(warning) = world.warning() {
        log::warn!("{warning}");
    }
    check_paths(args, &config)?;
    tell(&config);
    if args.dry_run {
        return commands::dry_run(world, &config, &mut out(args.verbosity)).map(|()| 0);
    }
    let going = Going { resume: args.resume.clone(), max_time: args.max_time };
    let record = Wanted { trace: args.trace.clone(), memory: args.memory_profile.clone() };
    let asked = Asked { going: &going, record: &record, truth: args.truth.as_deref() };
    commands::fit(world, &config, &asked, &mut out(args.verbosity))
}
