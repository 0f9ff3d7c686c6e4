use super::*;

/// Results of a fit by the number of its run.
fn put(folder: &Folder, run: usize, keep: usize) {
    let stage = folder.stage().unwrap();
    stage.write_json("x.json", &serde_json::json!({ "run": run })).unwrap();
    stage.put(keep).unwrap();
}

fn run_of(results: &Path) -> String {
    fs::read_to_string(results.join("x.json")).unwrap().chars().filter(char::is_ascii_digit).collect()
}

/// Earlier results by their names, oldest first.
fn previous(root: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(root.join(PREVIOUS)).unwrap().map(|e| e.unwrap().path()).collect();
    found.sort();
    found
}

#[test]
fn earlier_results_are_kept_up_to_a_number_with_all_that_is_in_them() {
    let top = tempfile::tempdir().unwrap();
    let root = top.path().join("a/b");
    let folder = Folder::probe(&root).unwrap();
    put(&folder, 0, 3);
    fs::create_dir_all(root.join("nlsq/mine/deep")).unwrap();
    fs::write(root.join("nlsq/mine/deep/notes"), "notes").unwrap();
    fs::create_dir(root.join("nuts")).unwrap();
    fs::write(root.join("nuts/draws"), "draws").unwrap();
    put(&folder, 1, 3);
    assert_eq!(run_of(&folder.results()), "1");
    let kept = previous(&root).remove(0);
    assert_eq!(run_of(&kept.join("nlsq")), "0");
    assert_eq!(fs::read_to_string(kept.join("nlsq/mine/deep/notes")).unwrap(), "notes");
    assert_eq!(fs::read_to_string(kept.join("nuts/draws")).unwrap(), "draws");
    assert!(!root.join("nuts").exists() && !root.join("nlsq/mine").exists());
    for run in 2..6 {
        put(&folder, run, 3);
    }
    let runs: Vec<String> = previous(&root).iter().map(|kept| run_of(&kept.join("nlsq"))).collect();
    assert_eq!(runs, ["2", "3", "4"]);
    put(&folder, 6, 0);
    assert!(previous(&root).is_empty() && run_of(&folder.results()) == "6");
    let hidden = fs::read_dir(&root).unwrap().flatten().filter(|e| e.file_name().to_string_lossy().starts_with('.'));
    assert_eq!(hidden.count(), 0);
}

#[test]
fn results_that_are_kept_already_are_not_kept_twice() {
    let top = tempfile::tempdir().unwrap();
    let folder = Folder::probe(top.path()).unwrap();
    put(&folder, 0, 10);
    // as by runs that are killed in between
    folder.stage().unwrap().keep_older().unwrap();
    folder.stage().unwrap().keep_older().unwrap();
    put(&folder, 1, 10);
    assert_eq!(previous(top.path()).len(), 1);
}

#[test]
fn what_comes_into_a_folder_while_pictures_are_drawn_is_kept() {
    let top = tempfile::tempdir().unwrap();
    let folder = Folder::probe(top.path()).unwrap();
    put(&folder, 0, 10);
    let mut stage = folder.stage().unwrap();
    stage.keep_older().unwrap();
    fs::write(folder.results().join("late"), "").unwrap();
    stage.put(10).unwrap();
    assert!(previous(top.path())[0].join("nlsq/late").exists());
}

#[test]
fn what_is_added_leaves_the_other_files_of_this_run_alone() {
    let top = tempfile::tempdir().unwrap();
    let folder = Folder::probe(top.path()).unwrap();
    put(&folder, 0, 10);
    fs::write(folder.results().join("map.png"), "").unwrap();
    let stage = folder.stage().unwrap();
    stage.write_json("x.json", &serde_json::json!({ "run": 1 })).unwrap();
    fs::write(stage.draws().unwrap().join("draws"), "").unwrap();
    stage.add().unwrap();
    assert_eq!(run_of(&folder.results()), "1");
    assert!(folder.results().join("map.png").exists() && top.path().join("nuts/draws").exists());
    assert!(!top.path().join(PREVIOUS).exists());
}

#[test]
fn what_killed_runs_have_left_is_cleared_away_and_what_they_had_begun_is_ended() {
    let top = tempfile::tempdir().unwrap();
    let folder = Folder::probe(top.path()).unwrap();
    for name in [".homodyne-new-abc/nlsq", ".homodyne-ready", "mine", ".homodyne-newer"] {
        fs::create_dir_all(top.path().join(name)).unwrap();
    }
    fs::write(top.path().join(".homodyne-ready/whole"), "").unwrap();
    folder.tidy();
    assert!(folder.results().join("whole").exists());
    // results in their place are the older ones, and the run that was about to replace them goes on from its checkpoint
    fs::create_dir(top.path().join(READY)).unwrap();
    folder.tidy();
    let mut left: Vec<String> =
        fs::read_dir(top.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    left.sort();
    assert_eq!(left, [".homodyne-newer", "mine", "nlsq"]);
}

#[test]
fn probing_leaves_nothing_when_the_run_ends_early() {
    let top = tempfile::tempdir().unwrap();
    Folder::probe(&top.path().join("a/b/c")).unwrap().discard();
    assert_eq!(fs::read_dir(top.path()).unwrap().count(), 0);
}

#[test]
fn a_folder_below_a_file_is_refused() {
    let top = tempfile::tempdir().unwrap();
    fs::write(top.path().join("file"), "").unwrap();
    let error = Folder::probe(&top.path().join("file/results")).unwrap_err();
    assert_eq!(error.exit_code(), 5);
    fs::write(top.path().join(PREVIOUS), "").unwrap();
    let error = Folder::probe(top.path()).unwrap_err();
    assert!(error.to_string().contains("previous") && error.to_string().contains("no folder"), "{error}");
}
