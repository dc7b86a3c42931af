//! Writes the custom resources' definitions into a directory, one file each: `crdgen <directory>`.

use std::path::Path;
use std::process::ExitCode;

use cofferdam_api::crds;

/// Why a file was not written.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("usage: crdgen <directory>")]
    Usage,
    #[error("the definitions cannot be generated: {0}")]
    Generate(#[from] crds::Error),
    #[error("{0}: {1}")]
    Write(String, std::io::Error),
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("crdgen: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Error> {
    let directory = std::env::args_os().nth(1).ok_or(Error::Usage)?;
    let write = |path: &Path, text: &str| {
        std::fs::write(path, text).map_err(|error| Error::Write(path.display().to_string(), error))
    };
    let directory = Path::new(&directory);
    std::fs::create_dir_all(directory)
        .map_err(|error| Error::Write(directory.display().to_string(), error))?;
    crds::files()?
        .iter()
        .try_for_each(|file| write(&directory.join(&file.name), &file.text))
}
