//! The files that every agent finds: certificates, prompt, and settings of tools that read no variables.

use std::io;
use std::path::Path;

use super::paths::{Paths, agent_path};

/// Where the agent sees its work trees.
const WORKSPACE: &str = "/workspace";
/// Longest prompt in bytes; a ConfigMap holds no more.
const PROMPT_LIMIT: u64 = 1024 * 1024;

/// Why the files could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ContractError {
    /// A file.
    #[error("{0}: {1}")]
    File(String, #[source] io::Error),
    /// The prompt of a ConfigMap.
    #[error("the prompt in the ConfigMap is longer than {PROMPT_LIMIT} bytes")]
    Prompt,
}

/// Writes the certificates, the image's own first, then those of the installation (`trusted`, PEM), and the files
/// that point at them.
///
/// # Errors
/// A file cannot be read or written.
pub fn write_trust(paths: &Paths, trusted: &[u8]) -> Result<(), ContractError> {
    let mut bundle = read(&paths.system_roots())?;
    if !bundle.ends_with(b"\n") {
        bundle.push(b'\n');
    }
    bundle.extend_from_slice(trusted);
    let contract = paths.contract();
    write(&contract.join("ca.pem"), &bundle)?;
    // Debian's and Red Hat's names: the volume is mounted over the directories of both.
    write(&paths.ca().join("ca-certificates.crt"), &bundle)?;
    write(&paths.ca().join("ca-bundle.crt"), &bundle)?;
    let ca = agent_path("ca.pem");
    let ca = ca.display();
    write(
        &contract.join("wgetrc"),
        format!("ca_certificate = {ca}\n").as_bytes(),
    )?;
    write(
        &contract.join("apt.conf"),
        format!("Acquire::https::CaInfo \"{ca}\";\n").as_bytes(),
    )
}

/// Writes git's configuration for the agent, twice: as the system's (`GIT_CONFIG_SYSTEM`), for an agent with a HOME of
/// its own, and into HOME, for git before 2.32, which does not know that variable.
///
/// # Errors
/// A file cannot be written.
pub fn write_git(paths: &Paths, directories: &[&str]) -> Result<(), ContractError> {
    let config = git_config(directories);
    write(&paths.contract().join("gitconfig"), config.as_bytes())?;
    write(&paths.home().join(".gitconfig"), config.as_bytes())
}

/// Work trees are mounts, and the root of a mount belongs to root: git would refuse to work in them. Some versions that
/// check this know no `*`, so each is named, too. And without a name git refuses to commit for a user id that the image's
/// passwd does not know. The image's file comes last, so that it has the last word.
fn git_config(directories: &[&str]) -> String {
    let mut config =
        "[user]\n\tname = agent\n\temail = agent@sandbox.invalid\n[safe]\n\tdirectory = *\n".to_owned();
    for directory in directories {
        config.extend(["\tdirectory = ", WORKSPACE, "/", directory, "\n"]);
    }
    config.push_str("[include]\n\tpath = /etc/gitconfig\n");
    config
}

/// Writes the prompt: the one given, or the one in the file that a ConfigMap was mounted as.
///
/// # Errors
/// A file cannot be read or written, or is too long.
pub fn write_prompt(paths: &Paths, prompt: Option<&str>) -> Result<(), ContractError> {
    let bytes = match prompt {
        Some(prompt) => prompt.as_bytes().to_vec(),
        None => mounted_prompt(&paths.input_prompt())?,
    };
    write(&paths.contract().join("prompt"), &bytes)
}

fn mounted_prompt(input: &Path) -> Result<Vec<u8>, ContractError> {
    let length = std::fs::metadata(input).map_err(|error| at(input, error))?.len();
    if length > PROMPT_LIMIT {
        return Err(ContractError::Prompt);
    }
    read(input)
}

fn read(path: &Path) -> Result<Vec<u8>, ContractError> {
    std::fs::read(path).map_err(|error| at(path, error))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), ContractError> {
    std::fs::write(path, bytes).map_err(|error| at(path, error))
}

fn at(path: &Path, error: io::Error) -> ContractError {
    ContractError::File(path.display().to_string(), error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths() -> (tempfile::TempDir, Paths) {
        let directory = tempfile::tempdir().unwrap();
        for each in [
            "cofferdam/contract",
            "cofferdam/ca",
            "cofferdam/input",
            "etc/ssl/certs",
            "home/agent",
        ] {
            std::fs::create_dir_all(directory.path().join(each)).unwrap();
        }
        let paths = Paths::new(directory.path());
        (directory, paths)
    }

    #[test]
    fn the_bundle_holds_the_images_roots_and_the_installations() {
        let (_directory, paths) = paths();
        std::fs::write(paths.system_roots(), "roots").unwrap();
        write_trust(&paths, b"ours\n").unwrap();
        for file in [
            paths.contract().join("ca.pem"),
            paths.ca().join("ca-certificates.crt"),
            paths.ca().join("ca-bundle.crt"),
        ] {
            assert_eq!(std::fs::read_to_string(file).unwrap(), "roots\nours\n");
        }
        let wgetrc = std::fs::read_to_string(paths.contract().join("wgetrc")).unwrap();
        assert_eq!(wgetrc, "ca_certificate = /cofferdam/ca.pem\n");
    }

    /// Git of before 2.32 reads nothing of ours but HOME; git's own tests have it take every owner for another.
    #[test]
    fn every_git_works_in_a_tree_that_belongs_to_another() {
        let (directory, paths) = paths();
        write_git(&paths, &["shop", "lib"]).unwrap();
        let root = directory.path();
        let git = |home: &Path, system: &Path, words: &[&str]| {
            let status = std::process::Command::new("git")
                .args(words)
                .current_dir(root)
                .env_clear()
                .env("PATH", "/usr/bin:/bin")
                .env("HOME", home)
                .env("GIT_CONFIG_SYSTEM", system)
                .env("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
                .output()
                .unwrap();
            (
                status.status.success(),
                String::from_utf8_lossy(&status.stderr).into_owned(),
            )
        };
        let (home, nothing) = (paths.home(), Path::new("/dev/null"));
        let system = paths.contract().join("gitconfig");
        assert!(git(&home, nothing, &["init", "-q", "shop"]).0);
        assert!(git(&home, nothing, &["init", "-q", "shop/nested"]).0);
        let commit = |home: &Path, system: &Path, tree: &str| {
            git(
                home,
                system,
                &["-C", tree, "commit", "-q", "--allow-empty", "-m", "x"],
            )
        };
        for tree in ["shop", "shop/nested"] {
            assert_eq!(commit(&home, nothing, tree), (true, String::new()));
            assert_eq!(commit(root, &system, tree), (true, String::new()));
            // The control: without either file git refuses.
            let (done, said) = commit(root, nothing, tree);
            assert!(!done && said.contains("dubious ownership"), "{said}");
        }
        let written = std::fs::read_to_string(home.join(".gitconfig")).unwrap();
        for tree in ["*", "/workspace/shop", "/workspace/lib"] {
            assert!(written.contains(&format!("\tdirectory = {tree}\n")), "{written}");
        }
    }

    #[test]
    fn the_prompt_comes_from_the_spec_or_from_the_mounted_file() {
        let (_directory, paths) = paths();
        let prompt = paths.contract().join("prompt");
        assert!(
            write_prompt(&paths, None)
                .unwrap_err()
                .to_string()
                .contains("input/prompt")
        );
        std::fs::write(paths.input_prompt(), "from the map").unwrap();
        write_prompt(&paths, None).unwrap();
        assert_eq!(std::fs::read_to_string(&prompt).unwrap(), "from the map");
        write_prompt(&paths, Some("from the spec")).unwrap();
        assert_eq!(std::fs::read_to_string(&prompt).unwrap(), "from the spec");
    }
}
