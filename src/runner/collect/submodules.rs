//! The submodules that were cloned into a work tree: where each stands there, and which pristine repository it is of.
//! `prepare` notes it beside the pristine repository, out of the agent's reach.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The file in a pristine repository that says where its work tree stands.
const PLACE: &str = "cofferdam-submodule";
/// Longest path of a submodule that is collected; it is shown in full.
pub const LONGEST: usize = 255;

/// A submodule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Submodule {
    /// Its path in the work tree of the repository of the run.
    pub path: Vec<u8>,
    /// Its pristine repository.
    pub pristine: PathBuf,
}

impl Submodule {
    /// The paths of those of `all` that stand below this one, as it has them.
    pub fn below<'a>(&'a self, all: &'a [Self]) -> impl Iterator<Item = Vec<u8>> + 'a {
        let below = |each: &'a Self| each.path.strip_prefix(self.path.as_slice())?.strip_prefix(b"/");
        all.iter().filter_map(below).map(<[u8]>::to_vec)
    }
}

/// Notes that the work tree of `pristine` stands at `path` of its repository's.
///
/// # Errors
/// It cannot be written.
pub fn note(pristine: &Path, path: &Path) -> io::Result<()> {
    fs::write(pristine.join(PLACE), path.as_os_str().as_bytes())
}

/// The submodules whose pristine repositories stand in `directory`, in the order of their paths; none where it is not there.
///
/// # Errors
/// It cannot be read.
pub fn list(directory: &Path) -> io::Result<Vec<Submodule>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let pristine = entry?.path();
        let path = match fs::read(pristine.join(PLACE)) {
            // Of a repository that is not collected nothing was noted.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            path => path?,
        };
        if path.len() <= LONGEST && OsStr::from_bytes(&path).to_str().is_some() {
            found.push(Submodule { path, pristine });
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_listed_by_path() {
        let directory = tempfile::tempdir().unwrap();
        let modules = directory.path().join("app.modules");
        assert!(list(&modules).unwrap().is_empty());
        let long = "x".repeat(LONGEST + 1);
        for (number, path) in ["vendor/b", "vendor/a", "vendor/a/deep", &long]
            .iter()
            .enumerate()
        {
            let pristine = modules.join(format!("{number}.git"));
            fs::create_dir_all(&pristine).unwrap();
            note(&pristine, Path::new(path)).unwrap();
        }
        fs::create_dir(modules.join("9.git")).unwrap();
        let all = list(&modules).unwrap();
        let paths: Vec<&[u8]> = all.iter().map(|each| each.path.as_slice()).collect();
        assert_eq!(paths, [b"vendor/a".as_slice(), b"vendor/a/deep", b"vendor/b"]);
        assert_eq!(all[0].pristine, modules.join("1.git"));
        assert_eq!(all[0].below(&all).collect::<Vec<_>>(), [b"deep"]);
        assert_eq!(all[1].below(&all).count(), 0);
    }
}
