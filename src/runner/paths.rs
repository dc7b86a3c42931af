//! Where things stand in our containers. One root, so that tests can have all of it in a directory of theirs.

use std::path::{Path, PathBuf};

/// Places below a root, which is `/` in a pod.
#[derive(Clone, Debug)]
pub struct Paths {
    root: PathBuf,
}

impl Paths {
    /// Everything below `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The volume that the agent sees as `/cofferdam`.
    pub fn contract(&self) -> PathBuf {
        self.root.join("cofferdam/contract")
    }

    /// The volume that the agent sees over its system's certificates.
    pub fn ca(&self) -> PathBuf {
        self.root.join("cofferdam/ca")
    }

    /// The pristine bare repository of a name; the agent never mounts it.
    pub fn pristine(&self, name: &str) -> PathBuf {
        self.pristines().join(format!("{name}.git"))
    }

    /// Where all pristine repositories stand.
    pub fn pristines(&self) -> PathBuf {
        self.root.join("cofferdam/git")
    }

    /// The pristine repositories of the submodules of a name.
    pub fn submodules(&self, name: &str) -> PathBuf {
        self.pristines().join(format!("{name}.modules"))
    }

    /// A work tree.
    pub fn work_tree(&self, directory: &str) -> PathBuf {
        self.root.join("workspace").join(directory)
    }

    /// The agent's HOME.
    pub fn home(&self) -> PathBuf {
        self.root.join("home/agent")
    }

    /// The prompt where the run takes it from a ConfigMap.
    pub fn input_prompt(&self) -> PathBuf {
        self.root.join("cofferdam/input/prompt")
    }

    /// A projected token.
    pub fn token(&self, name: &str) -> PathBuf {
        self.root.join("var/run/cofferdam").join(name)
    }

    /// The certificates of the image's distribution.
    pub fn system_roots(&self) -> PathBuf {
        self.root.join("etc/ssl/certs/ca-certificates.crt")
    }

    /// What the kernel says of itself.
    pub fn proc(&self) -> PathBuf {
        self.root.join("proc")
    }

    /// Where the kubelet reads the termination message.
    pub fn termination_log(&self) -> PathBuf {
        self.root.join("dev/termination-log")
    }

    /// A volume of ours for what need not be kept.
    pub fn scratch(&self) -> PathBuf {
        self.root.join("tmp")
    }
}

/// Where the agent sees a file of the contract volume.
pub fn agent_path(file: &str) -> PathBuf {
    Path::new("/cofferdam").join(file)
}
