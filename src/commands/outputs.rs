//! What a command is to write, held against what it reads and what is there already, before it does either.

use std::fs::Metadata;
use std::path::{Path, PathBuf};

use crate::output::Folder;
use crate::{Error, Result, files};

/// A path, and what messages call it: an option, or "the data file".
pub type Named<'a> = (&'a str, &'a Path);

/// Refuses to write over an input, over anything that isn't a file, over another output, and without `force` over any file.
/// A folder that isn't there or can't be looked into is left to writing, which says so.
///
/// # Errors
/// [`Error::Usage`] naming the path and what to do.
pub fn check(outputs: &[Named], inputs: &[Named], force: bool) -> Result<()> {
    for (k, &(option, path)) in outputs.iter().enumerate() {
        let refused = |why: String| -> Result<()> { Err(Error::Usage(format!("{option}: {} {why}", path.display()))) };
        let place = place_of(path);
        if let Some((other, _)) = outputs[..k].iter().find(|(_, other)| place.is_some() && place_of(other) == place) {
            return refused(format!("is the file of {other} already; name another one"));
        }
        let Ok(there) = path.symlink_metadata() else { continue };
        let file = path.metadata();
        let is_same = |input: &Path| matches!((&file, input.metadata()), (Ok(a), Ok(b)) if files::is_same(a, &b));
        if let Some((what, _)) = inputs.iter().find(|(_, input)| is_same(input)) {
            return refused(format!("is {what} itself; name another file to write"));
        }
        check_kind(&there).or_else(refused)?;
        if !force {
            return refused("is there already; --force replaces it".into());
        }
    }
    Ok(())
}

/// What can't be written, not even with `--force`.
fn check_kind(there: &Metadata) -> std::result::Result<(), String> {
    match files::kind(there) {
        "a file" => Ok(()),
        "a link" => Err("is a link; name the file itself, or remove the link".into()),
        other => Err(format!("is {other}; name a file to write")),
    }
}

/// Where a file is, or would be: its folder without links, and its name.
fn place_of(path: &Path) -> Option<PathBuf> {
    let path = std::path::absolute(path).ok()?;
    let folder = path.parent()?.canonicalize().ok()?;
    Some(folder.join(path.file_name()?))
}

/// Refuses a run whose results would move or delete one of its inputs: those of earlier runs, in folders of these names, make
/// room.
///
/// # Errors
/// [`Error::Usage`] naming the input, the folder and what to do.
pub fn check_stays(inputs: &[Named], directory: &Path) -> Result<()> {
    for &(what, path) in inputs {
        // the name by which it is read, and the file that it leads to
        let places = [place_of(path), path.canonicalize().ok()];
        for name in Folder::MAKE_ROOM {
            let folder = directory.join(name);
            let folders = [place_of(&folder), folder.canonicalize().ok()];
            let is_below = |place: &PathBuf| folders.iter().flatten().any(|folder| place.starts_with(folder));
            if places.iter().flatten().any(is_below) {
                return Err(Error::Usage(format!(
                    "{} is {what} and lies below {}, which makes room for new results; move it, or give another output \
                     folder (--output-dir)",
                    path.display(),
                    folder.display()
                )));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn an_output_is_a_file_that_nothing_depends_on() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("data"), "d").unwrap();
        fs::write(at("old"), "o").unwrap();
        fs::create_dir(at("sub")).unwrap();
        fs::hard_link(at("data"), at("hard")).unwrap();
        symlink(at("data"), at("to data")).unwrap();
        symlink(at("old"), at("to old")).unwrap();
        symlink(at("nowhere"), at("to nowhere")).unwrap();
        symlink(at("sub"), at("to sub")).unwrap();
        nix::unistd::mkfifo(&at("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let said = |name: &str, force: bool| {
            let checked = check(&[("--trace", &at(name))], &[("the data file", &at("data"))], force);
            checked.err().map_or(String::new(), |error| error.to_string())
        };
        for force in [false, true] {
            for name in ["data", "hard", "to data", "sub/../data", "to sub/../data"] {
                assert!(said(name, force).contains("is the data file itself"), "{name}: {}", said(name, force));
            }
            for (name, what) in [
                ("to old", "is a link"),
                ("to nowhere", "is a link"),
                ("sub", "is a folder"),
                ("fifo", "is a FIFO"),
                ("/dev/null", "is a device"),
            ] {
                assert!(said(name, force).contains(what), "{name}: {}", said(name, force));
            }
            assert_eq!(said("new", force), "");
            assert_eq!(said("no such folder/new", force), "");
        }
        assert!(said("old", false).contains("is there already; --force replaces it"));
        assert_eq!(said("old", true), "");
        let two = [("--trace", &*at("new")), ("--memory-profile", &*at("to sub/../new"))];
        assert!(check(&two, &[], true).unwrap_err().to_string().contains("--memory-profile: "));
    }

    #[test]
    fn an_input_where_results_make_room_is_found_by_any_way_that_leads_there() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["out/nlsq", "out/previous/nlsq", "out/data", "elsewhere"] {
            fs::create_dir_all(at(name)).unwrap();
        }
        for name in ["out/nlsq/x", "out/previous/nlsq/x", "out/data/x", "elsewhere/x"] {
            fs::write(at(name), "x").unwrap();
        }
        symlink(at("out/nlsq/x"), at("leads there")).unwrap();
        symlink(at("elsewhere/x"), at("out/nlsq/leads away")).unwrap();
        symlink(at("elsewhere"), at("out/nuts")).unwrap();
        symlink(at("out"), at("other")).unwrap();
        for out in ["out", "other", "out/data/.."] {
            let checked = |name: &str| check_stays(&[("the data file", &at(name))], &at(out));
            for name in ["out/nlsq/x", "out/previous/nlsq/x", "other/nlsq/x", "leads there", "out/nlsq/leads away"] {
                let error = checked(name).unwrap_err().to_string();
                assert!(error.contains("is the data file and lies below"), "{out}, {name}: {error}");
            }
            assert!(checked("elsewhere/x").is_err(), "{out}: it is what nuts leads to");
            checked("out/data/x").unwrap();
            checked("no such file").unwrap();
        }
    }
}
