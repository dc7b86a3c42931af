//! Writes what is generated from the types of the custom resources: their definitions into a directory, one file each, the
//! generated part of the page that documents them, and the page about presets: `crdgen <directory> [<page> <presets>]`.

use std::path::Path;
use std::process::ExitCode;

use cofferdam_api::{crds, reference};
use cofferdam_policy::preset;

/// Why a file was not written.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("usage: crdgen <directory> [<page> <presets>]")]
    Usage,
    #[error("the definitions cannot be generated: {0}")]
    Generate(#[from] crds::Error),
    #[error("{0}: {1}")]
    File(String, std::io::Error),
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
    let mut arguments = std::env::args_os().skip(1);
    let directory = arguments.next().ok_or(Error::Usage)?;
    let pages = arguments.next().zip(arguments.next());
    if arguments.next().is_some() {
        return Err(Error::Usage);
    }
    let directory = Path::new(&directory);
    std::fs::create_dir_all(directory).map_err(at(directory))?;
    for file in crds::files()? {
        write(&directory.join(&file.name), &file.text)?;
    }
    if let Some((page, presets)) = pages {
        let page = Path::new(&page);
        let text = std::fs::read_to_string(page).map_err(at(page))?;
        write(page, &reference::updated(&text)?)?;
        write(Path::new(&presets), &preset::page::markdown())?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    std::fs::write(path, text).map_err(at(path))
}

fn at(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let name = path.display().to_string();
    |error| Error::File(name, error)
}
