//! The files that every agent finds: certificates, prompt, and settings of tools that read no variables.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::java::key_store;
use super::paths::{Paths, agent_path};
use cofferdam_api::names::digest;
use cofferdam_wire::runner::{MountedPrompt, PromptSpec};

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
    /// The prompt of a ConfigMap is too long.
    #[error("the prompt in the ConfigMap is longer than {PROMPT_LIMIT} bytes")]
    Prompt,
    /// The prompt of a ConfigMap is not the one that the run names.
    #[error(
        "the prompt in key {key} of ConfigMap {config_map} is not the one that the run was asked for with: its digest is \
         {found}, and spec.task.promptFrom.configMapKeyRef.digest is {asked}. If the text there now is what the agent is to \
         do, create a run with its digest"
    )]
    PromptChanged {
        /// Name of the ConfigMap.
        config_map: String,
        /// Its key.
        key: String,
        /// Digest that the run names.
        asked: String,
        /// Digest of what is there.
        found: String,
    },
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
    let certificates: Vec<CertificateDer<'_>> = CertificateDer::pem_slice_iter(&bundle).flatten().collect();
    let store = key_store(certificates.iter().map(AsRef::as_ref));
    write(&contract.join("cacerts"), &store)?;
    // Where Debian's JVMs look: their own store is a link to this file, which the volume would hide.
    let java = paths.ca().join("java");
    std::fs::create_dir_all(&java).map_err(|error| at(&java, error))?;
    write(&java.join("cacerts"), &store)?;
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
/// A file cannot be read or written, is too long, or is not what the run names.
pub fn write_prompt(paths: &Paths, prompt: &PromptSpec) -> Result<(), ContractError> {
    let bytes = match prompt {
        PromptSpec::Text(prompt) => prompt.as_bytes().to_vec(),
        PromptSpec::Mounted(asked) => mounted_prompt(&paths.input_prompt(), asked)?,
    };
    write(&paths.contract().join("prompt"), &bytes)
}

/// Read once: the kubelet brings a change of the ConfigMap into a mounted volume at any time, and what is compared is what
/// the agent gets.
fn mounted_prompt(input: &Path, asked: &MountedPrompt) -> Result<Vec<u8>, ContractError> {
    let mut bytes = Vec::new();
    let read = File::open(input).and_then(|file| file.take(PROMPT_LIMIT + 1).read_to_end(&mut bytes));
    let length = read.map_err(|error| at(input, error))?;
    if u64::try_from(length).is_ok_and(|length| length > PROMPT_LIMIT) {
        return Err(ContractError::Prompt);
    }
    let found = digest(&bytes);
    if found == asked.digest {
        Ok(bytes)
    } else {
        Err(ContractError::PromptChanged {
            config_map: asked.config_map.clone(),
            key: asked.key.clone(),
            asked: asked.digest.clone(),
            found,
        })
    }
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
    use rstest::rstest;

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

    #[test]
    fn jvms_get_every_certificate_of_the_bundle() {
        let (_directory, paths) = paths();
        let certificate = "-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n";
        std::fs::write(paths.system_roots(), format!("# a root\n{certificate}")).unwrap();
        write_trust(&paths, certificate.as_bytes()).unwrap();
        let expected = key_store([&[1, 2, 3][..], &[1, 2, 3]].into_iter());
        for file in [paths.contract().join("cacerts"), paths.ca().join("java/cacerts")] {
            assert_eq!(std::fs::read(file).unwrap(), expected);
        }
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

    fn mounted(text: &str) -> PromptSpec {
        PromptSpec::Mounted(MountedPrompt {
            config_map: "tasks".to_owned(),
            key: "login.md".to_owned(),
            digest: digest(text.as_bytes()),
        })
    }

    #[test]
    fn the_prompt_comes_from_the_spec_or_from_the_mounted_file() {
        let (_directory, paths) = paths();
        let prompt = paths.contract().join("prompt");
        let absent = write_prompt(&paths, &mounted("from the map")).unwrap_err();
        assert!(absent.to_string().contains("input/prompt"), "{absent}");
        std::fs::write(paths.input_prompt(), "from the map").unwrap();
        write_prompt(&paths, &mounted("from the map")).unwrap();
        assert_eq!(std::fs::read_to_string(&prompt).unwrap(), "from the map");
        write_prompt(&paths, &PromptSpec::Text("from the spec".to_owned())).unwrap();
        assert_eq!(std::fs::read_to_string(&prompt).unwrap(), "from the spec");
    }

    #[rstest]
    #[case::another("from somebody else")]
    #[case::one_more_line("from the map\n")]
    #[case::empty("")]
    fn a_prompt_that_was_changed_is_not_given_to_the_agent(#[case] there: &str) {
        let (_directory, paths) = paths();
        std::fs::write(paths.input_prompt(), there).unwrap();
        let changed = write_prompt(&paths, &mounted("from the map")).unwrap_err();
        let said = changed.to_string();
        assert!(matches!(changed, ContractError::PromptChanged { .. }), "{said}");
        for part in [
            "tasks",
            "login.md",
            &digest(there.as_bytes()),
            &digest(b"from the map"),
        ] {
            assert!(said.contains(part), "{part} in: {said}");
        }
        assert!(!paths.contract().join("prompt").exists());
    }

    #[test]
    fn a_prompt_that_is_too_long_is_not_read_to_its_end() {
        let (_directory, paths) = paths();
        let file = File::create(paths.input_prompt()).unwrap();
        file.set_len(PROMPT_LIMIT + 1).unwrap();
        let error = write_prompt(&paths, &mounted("")).unwrap_err();
        assert!(matches!(error, ContractError::Prompt), "{error}");
    }
}
