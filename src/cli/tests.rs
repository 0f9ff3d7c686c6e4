//! What is parsed, refused and shown.

use super::*;
use clap::CommandFactory as _;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once("homodyne-mpi").chain(line.split_whitespace()))
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn without_a_command_the_arguments_are_those_of_a_fit() {
    let cli = parse(
        "--config a.yaml --output-dir o --data-file d.h5 --method nlsq --device cpu --threads 4 \
         --strategy CHUNKED --set a.b=1 --set c=[1,2] --truth t.json -vv",
    )
    .unwrap();
    assert!(cli.command.is_none());
    assert_eq!(cli.fit.config, Some("a.yaml".into()));
    assert_eq!(cli.fit.threads, Some(4));
    assert_eq!(cli.fit.strategy.map(StrategyName::name), Some("chunked"));
    assert_eq!(cli.fit.method.map(Method::name), Some("nlsq"));
    assert_eq!(cli.fit.set, ["a.b=1", "c=[1,2]"]);
    assert_eq!(cli.fit.verbosity, Verbosity { verbose: 2, quiet: false });
}

#[test]
fn commands_take_their_arguments() {
    let Some(Command::Simulate(simulate)) = parse("simulate --config a.yaml --out s.h5 -q").unwrap().command else {
        panic!()
    };
    assert_eq!((simulate.layout, simulate.verbosity.quiet), (LayoutName::ApsU, true));
    let Some(Command::Inspect(inspect)) = parse("inspect f.hdf --q 0.0054 --dt 0.1").unwrap().command else { panic!() };
    assert_eq!((inspect.q, inspect.dt, inspect.config), (Some(0.0054), Some(0.1), None));
    let Some(Command::Config(config)) = parse("config check a.yaml --strict -v").unwrap().command else { panic!() };
    let ConfigCommand::Check(check) = config.command else { panic!() };
    assert_eq!((check.file, check.strict, check.verbosity.verbose), ("a.yaml".into(), true, 1));
    let line = "config init --mode laminar_flow --full --from-data d.hdf --q 0.005 -o a.yaml --force";
    let Some(Command::Config(config)) = parse(line).unwrap().command else { panic!() };
    let ConfigCommand::Init(init) = config.command else { panic!() };
    assert_eq!((init.mode, init.full, init.force, init.q), (ModeName::LaminarFlow, true, true, Some(0.005)));
    assert_eq!((init.from_data, init.output), (Some("d.hdf".into()), Some("a.yaml".into())));
    let line = "convert a.hdf b.h5 --to aps-u --q 0.0054 --dt 0.1 --phi -10:10 --phi 170:-170 --frames 5:90 --force";
    let Some(Command::Convert(convert)) = parse(line).unwrap().command else { panic!() };
    assert_eq!((convert.input, convert.output, convert.to), ("a.hdf".into(), "b.h5".into(), LayoutName::ApsU));
    assert_eq!((convert.phi, convert.frames), (vec![(-10.0, 10.0), (170.0, -170.0)], Some((5, 90))));
    assert_eq!((convert.compress, convert.force), (None, true));
    for (flag, level) in [("--compress a b", 4), ("a --compress=9 b", 9)] {
        let Some(Command::Convert(convert)) = parse(&format!("convert {flag}")).unwrap().command else { panic!() };
        assert_eq!((convert.to, convert.compress, convert.output), (LayoutName::Native, Some(level), "b".into()));
    }
    let Some(Command::Compare(compare)) = parse("compare a b --json c").unwrap().command else { panic!() };
    assert_eq!((compare.first, compare.second, compare.json), ("a".into(), "b".into(), Some("c".into())));
    for (line, folder) in [("checkpoint list", "homodyne_results/checkpoints"), ("checkpoint list c", "c")] {
        let Some(Command::Checkpoint(checkpoint)) = parse(line).unwrap().command else { panic!() };
        let CheckpointCommand::List(list) = checkpoint.command else { panic!() };
        assert_eq!((list.folder, list.json), (folder.into(), None));
    }
    let Some(Command::Checkpoint(checkpoint)) = parse("checkpoint verify c -q").unwrap().command else { panic!() };
    let CheckpointCommand::Verify(verify) = checkpoint.command else { panic!() };
    assert_eq!((verify.path, verify.verbosity.quiet), ("c".into(), true));
    let line = "benchmark --json b.json --threads 1,8 --quick";
    let Some(Command::Benchmark(benchmark)) = parse(line).unwrap().command else { panic!() };
    assert_eq!((benchmark.json, benchmark.threads, benchmark.quick), (Some("b.json".into()), vec![1, 8], true));
}

#[test]
fn mistakes_exit_2() {
    for line in [
        "",
        "--config",
        "--config a --threads 0",
        "--config a --method magic",
        "--config a --device gpu",
        "--config a -v -q",
        "simulate --config a",
        "simulate --out a",
        "inspect",
        "inspect f --q nan",
        "inspect f --dt 0",
        "benchmark --threads 1,0",
        "convert a",
        "convert a b --compress=0",
        "convert a b --frames 0:5",
        "convert a b --frames 7:7",
        "convert a b --phi 3",
        "convert a b --to old",
        "compare a",
        "checkpoint",
        "checkpoint list a b",
        "checkpoint verify",
        "config",
        "config check",
        "config init",
        "config init --mode turbulent",
        "config init --mode static --force",
        "config init --mode static --q 0.1",
        "nonsense",
    ] {
        assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
    }
}

#[test]
fn a_fit_without_configuration_is_refused_in_one_line() {
    assert_eq!(refused(&parse("-v").unwrap()), Some(NO_CONFIG.to_string()));
    assert_eq!((refused(&parse("-c a").unwrap()), refused(&parse("inspect f").unwrap())), (None, None));
}

#[test]
fn methods_have_their_old_names_too() {
    for (word, name) in [("nuts", "nuts"), ("mcmc", "nuts"), ("cmc", "nuts"), ("both", "both")] {
        let cli = parse(&format!("--config a --method {word}")).unwrap();
        assert_eq!(cli.fit.method.map(Method::name), Some(name));
        assert_eq!(refused(&cli), None);
    }
}

#[test]
fn the_help_shows_only_what_works() {
    let mut command = Cli::command();
    let mut help = command.render_long_help().to_string();
    for sub in
        ["simulate", "inspect", "convert", "compare", "benchmark", "config", "checkpoint", "device", "completions"]
    {
        let sub = command.find_subcommand_mut(sub).unwrap();
        help += &sub.render_long_help().to_string();
        sub.get_subcommands_mut().for_each(|deeper| help += &deeper.render_long_help().to_string());
    }
    assert!(!help.contains("mcmc") && help.contains("nuts"));
    for shown in [
        "--config <FILE>",
        "--set <KEY.PATH=VALUE>",
        "--truth",
        "--dry-run",
        "simulate",
        "inspect",
        "benchmark",
        "checkpoint",
        "--json",
        "--strict",
        "--from-data",
        "cuda",
        "Exit codes",
    ] {
        assert!(help.contains(shown), "{shown}");
    }
}

#[test]
fn times_are_seconds_or_spelt() {
    let parsed = |text: &str| parse(&format!("--config a --max-time {text}")).ok();
    let time = |text: &str| parsed(text).map(|cli| cli.fit.max_time.unwrap().as_secs_f64());
    let spelt =
        [("90", 90.0), ("0.5", 0.5), ("90m", 5400.0), ("1h30m", 5400.0), ("01:30:00", 5400.0), ("48h", 172_800.0)];
    for (text, seconds) in spelt {
        assert_eq!(time(text), Some(seconds), "{text}");
    }
    for text in ["0", "-5", "soon", "1e400", "nan"] {
        assert_eq!(time(text), None, "{text}");
    }
}
