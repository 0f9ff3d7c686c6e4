//! What documents say works: every block of commands runs, every link leads somewhere, every message that is explained exists.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::python;
use crate::common::{PROGRAM, other, scratch};
use clap::Parser;
use homodyne_mpi::cli::Cli;

/// Fences of commands that are run elsewhere, or not here: in a Slurm cluster (`tests/slurm` submits the templates), and what builds
/// or installs something (the test script itself does most of it).
const ELSEWHERE: [&str; 2] = ["sh cluster", "sh elsewhere"];
/// Other fences.
const TEXT: [&str; 4] = ["text", "yaml", "python", "rust"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All documents for readers, as paths from the root.
fn documents() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "examples/README.md"].map(PathBuf::from).into();
    for entry in std::fs::read_dir(root().join("docs")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "md") {
            found.push(path.strip_prefix(root()).unwrap().to_path_buf());
        }
    }
    found.sort();
    found
}

/// A fenced block.
struct Block {
    /// Line of its fence, from 1.
    line: usize,
    info: String,
    text: String,
}

/// The fenced blocks of a text, and the text without them.
fn blocks(text: &str) -> (Vec<Block>, String) {
    let (mut found, mut rest) = (Vec::new(), String::new());
    let mut open: Option<Block> = None;
    for (number, line) in text.lines().enumerate() {
        match (&mut open, line.trim_start().strip_prefix("```")) {
            (None, Some(info)) => {
                open = Some(Block { line: number + 1, info: info.trim().into(), text: String::new() });
            }
            (Some(_), Some(_)) => found.extend(open.take()),
            (Some(block), None) => block.text += &format!("{line}\n"),
            (None, None) => rest += &format!("{line}\n"),
        }
    }
    assert!(open.is_none(), "a fence isn't closed");
    (found, rest)
}

fn read(document: &Path) -> String {
    std::fs::read_to_string(root().join(document)).unwrap()
}

/// Runs the blocks of one document in a folder of their own, one after another.
fn run(document: &Path) {
    let folder = scratch();
    let (blocks, _) = blocks(&read(document));
    for Block { line, info, text } in blocks {
        let file = text.lines().next().and_then(|first| first.strip_prefix("# file: "));
        if let ("yaml", Some(file)) = (info.as_str(), file) {
            std::fs::write(folder.path().join(file.trim()), &text).unwrap();
        }
        if info != "sh" {
            continue;
        }
        if text.contains("python3") && python::with("h5py, numpy, matplotlib").is_none() {
            continue;
        }
        let programs = Path::new(PROGRAM).parent().unwrap();
        // Debian's Python, which has the packages, may not be the first
        let path = format!("{}:{}:{}", programs.display(), "/usr/bin", std::env::var("PATH").unwrap());
        let mut command = Command::new("bash");
        command.args(["-euo", "pipefail", "-c", &text]).env("PATH", path).env("REPO", root());
        let outcome = other(folder.path(), command).outcome();
        assert_eq!(
            outcome.code,
            Some(0),
            "{}:{line}\n{text}\n{}\n{}",
            document.display(),
            outcome.stdout,
            outcome.stderr
        );
    }
}

#[test]
fn every_block_of_commands_runs() {
    for document in documents() {
        run(&document);
    }
}

#[test]
fn every_block_says_what_it_is() {
    for document in documents() {
        let (blocks, rest) = blocks(&read(&document));
        for Block { line, info, .. } in blocks {
            let known = info == "sh" || ELSEWHERE.contains(&info.as_str()) || TEXT.contains(&info.as_str());
            assert!(known, "{}:{line}: a block of `{info}`", document.display());
        }
        // an indented block would hide commands from the test above
        let programs = ["homodyne-mpi ", "srun ", "sbatch ", "mpirun ", "cargo ", "./scripts/"];
        for line in rest.lines().filter(|line| line.starts_with("    ")) {
            let hidden = programs.iter().any(|program| line.trim_start().starts_with(program));
            assert!(!hidden, "{}: a command outside of a fence: {line}", document.display());
        }
    }
}

/// The arguments of every call of the program in a block.
fn calls(block: &str) -> Vec<Vec<String>> {
    let joined = block.replace("\\\n", " ");
    let mut found = Vec::new();
    for line in joined.lines() {
        let command = line.split('#').next().unwrap_or_default();
        for part in command.split(&['|', '&', ';', '>', '<'][..]) {
            let first = part.split_whitespace().next().unwrap_or_default();
            if ["cd", "cp", "git", "ldd", "mkdir", "tar"].contains(&first) {
                continue; // a folder or a file of that name
            }
            let mut words = part.split_whitespace().map(|word| word.trim_matches(&['\'', '"'][..]).to_string());
            if words.any(|word| word.rsplit('/').next() == Some("homodyne-mpi")) {
                found.push(words.collect());
            }
        }
    }
    found
}

#[test]
fn commands_that_run_elsewhere_exist() {
    let mut seen = (0, 0);
    for document in documents() {
        let (blocks, _) = blocks(&read(&document));
        for Block { line, text, .. } in blocks.into_iter().filter(|block| ELSEWHERE.contains(&block.info.as_str())) {
            let place = format!("{}:{line}", document.display());
            let syntax = Command::new("bash").args(["-n", "-c", &text]).output().unwrap();
            assert!(syntax.status.success(), "{place}: {}", String::from_utf8_lossy(&syntax.stderr));
            for arguments in calls(&text) {
                let parsed = Cli::try_parse_from(std::iter::once("homodyne-mpi".to_string()).chain(arguments.clone()));
                assert!(parsed.is_ok(), "{place}: {arguments:?}: {}", parsed.unwrap_err());
                seen.0 += 1;
            }
            for word in text.split_whitespace().filter(|word| word.ends_with(".sh") && !word.contains('$')) {
                let name = word.rsplit('/').next().unwrap();
                let exists = ["slurm", "scripts"].iter().any(|folder| root().join(folder).join(name).exists());
                assert!(exists, "{place}: there is no {word}");
                seen.1 += 1;
            }
        }
    }
    assert!(seen.0 >= 5 && seen.1 >= 5, "{seen:?}");
}

/// The anchor that a heading gets.
fn anchor(heading: &str) -> String {
    let kept = |c: char| if c == ' ' { Some('-') } else { (c.is_alphanumeric() || c == '-' || c == '_').then_some(c) };
    heading.trim().to_lowercase().chars().filter_map(kept).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut seen = 0;
    for document in documents() {
        let (_, text) = blocks(&read(&document));
        for part in text.split("](").skip(1) {
            let target = part.split(')').next().unwrap_or_default();
            if target.starts_with("http") || target.starts_with("mailto:") {
                continue;
            }
            seen += 1;
            let (file, fragment) = target.split_once('#').unwrap_or((target, ""));
            let folder = document.parent().unwrap();
            let path = if file.is_empty() { root().join(&document) } else { root().join(folder).join(file) };
            assert!(path.exists(), "{}: nothing at {target}", document.display());
            if !fragment.is_empty() {
                let text = std::fs::read_to_string(&path).unwrap();
                let headings = text.lines().filter(|line| line.starts_with('#'));
                let anchors: BTreeSet<String> = headings.map(|h| anchor(h.trim_start_matches('#'))).collect();
                assert!(anchors.contains(fragment), "{}: no heading for {target}", document.display());
            }
        }
    }
    assert!(seen > 30, "{seen} links");
}

/// All sources in one text, with lines of strings joined.
fn sources() -> String {
    fn collect(folder: &Path, into: &mut String) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, into);
            } else if path.extension().is_some_and(|end| end == "rs") {
                into.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }
    let mut text = String::new();
    for folder in ["program", "src"] {
        collect(&root().join(folder), &mut text);
    }
    let mut joined = String::with_capacity(text.len());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let mut whole = line.to_string();
        while whole.ends_with('\\') {
            whole.pop();
            whole.push_str(lines.next().unwrap_or_default().trim_start());
        }
        joined.push_str(&whole.replace("\\\"", "\""));
        joined.push('\n');
    }
    joined
}

#[test]
fn every_message_that_is_explained_exists() {
    let sources = sources();
    let text = read(Path::new("docs/troubleshooting.md"));
    let headings = text.lines().filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`'));
    let mut seen = 0;
    for heading in headings {
        seen += 1;
        for fragment in heading.split('…').map(str::trim).filter(|fragment| fragment.chars().count() > 3) {
            assert!(sources.contains(fragment), "docs/troubleshooting.md: nothing says `{fragment}` ({heading})");
        }
    }
    assert!(seen >= 30, "{seen} messages");
}
