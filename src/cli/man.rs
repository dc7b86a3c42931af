//! Manual pages: one for the command, and one for each of its commands. They are built with the archives of the plugin.

use std::path::PathBuf;

use clap::Command;

use crate::failure::{Exit, Failure};

/// Where they go.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The directory, which is made where there is none.
    directory: PathBuf,
}

/// Writes them.
///
/// # Errors
/// The directory cannot be written.
pub fn write(args: &Args, command: Command) -> Result<Exit, Failure> {
    let directory = &args.directory;
    std::fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(command, directory))
        .map_err(Failure::io(format!(
            "the manual pages cannot be written to {}",
            directory.display()
        )))?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn every_command_that_help_shows_has_a_page_and_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let args = Args {
            directory: directory.path().join("man"),
        };
        write(&args, crate::Cli::command()).unwrap();
        let mut pages: Vec<String> = std::fs::read_dir(&args.directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        pages.sort();
        for command in crate::Cli::command().get_subcommands() {
            let page = format!("kubectl-cofferdam-{}.1", command.get_name());
            assert_eq!(pages.contains(&page), !command.is_hide_set(), "{page}: {pages:?}");
        }
        assert!(pages.contains(&"kubectl-cofferdam.1".to_owned()), "{pages:?}");
        let run = std::fs::read_to_string(args.directory.join("kubectl-cofferdam-run.1")).unwrap();
        assert!(run.contains("template") && run.contains("prompt"), "{run}");
    }
}
