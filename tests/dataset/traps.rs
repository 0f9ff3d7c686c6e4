//! The list of traps names tests that exist.

use std::path::Path;

/// All Rust sources below a folder, one behind the other.
fn sources(folder: &Path) -> String {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let text = |path: std::path::PathBuf| match path.extension() {
        _ if path.is_dir() => sources(&path),
        Some(extension) if extension == "rs" => std::fs::read_to_string(path).unwrap(),
        _ => String::new(),
    };
    entries.map(text).collect()
}

#[test]
fn every_test_in_the_list_of_traps_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let list = std::fs::read_to_string(root.join("docs/traps.md")).unwrap();
    let sources = sources(&root.join("src")) + &sources(&root.join("tests"));
    let rows =
        list.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| trap ") && !line.contains("---"));
    let mut n_rows = 0;
    for row in rows {
        n_rows += 1;
        let tests: Vec<&str> =
            row.trim_end_matches(" |").rsplit(" | ").next().unwrap().split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "no test in: {row}");
        for test in tests {
            assert!(sources.contains(&format!("fn {test}(")), "there is no test {test}, named in: {row}");
        }
    }
    assert!(n_rows > 60, "only {n_rows} traps were found");
}
