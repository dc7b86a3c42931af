//! The plugin as a process: exit codes, standard input, and what it says when nobody can be asked.

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::path::{Path, PathBuf};
    use std::process::{Command, Output, Stdio};

    const PLUGIN: &str = env!("CARGO_BIN_EXE_kubectl-cofferdam");

    fn example(name: &str) -> PathBuf {
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
            .join("examples")
            .join(name)
    }

    /// Runs the plugin without any kubeconfig of whoever runs the tests.
    fn plugin(args: &[&str], input: &str) -> Output {
        let mut child = Command::new(PLUGIN)
            .args(args)
            .env_remove("KUBECONFIG")
            .env("HOME", "/nonexistent")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Whoever does not read its input has ended already.
        drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
        child.wait_with_output().unwrap()
    }

    fn explain(args: &[&str], input: &str) -> (i32, String) {
        let output = plugin(&[&["explain"], args].concat(), input);
        let said = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(said).unwrap())
    }

    #[test]
    fn exit_codes_are_those_of_the_verdict() {
        let (run, policy, cluster) = (
            example("agentrun.yaml"),
            example("sandboxpolicy.yaml"),
            example("clustersandboxpolicy.yaml"),
        );
        let [run, policy, cluster] = [&run, &policy, &cluster].map(|path| path.to_str().unwrap());
        let both = ["--policy", policy, "--policy", cluster];
        let (code, said) = explain(&[&["-f", run], &both[..]].concat(), "");
        assert_eq!(code, 0, "{said}");
        assert!(
            said.contains("AgentRun team-a/fix-login-timeout: allowed") && !said.contains('\u{1b}'),
            "{said}"
        );
        let foreign = std::fs::read_to_string(run)
            .unwrap()
            .replace("ghcr.io/team-a/", "ghcr.io/team-b/");
        let (code, said) = explain(&[&["-f", "-", "-o", "json"], &both[..]].concat(), &foreign);
        assert_eq!(code, 1, "{said}");
        let document: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert_eq!(
            (document["verdict"].as_str(), document["reason"].as_str()),
            (Some("Refused"), Some("ImageDenied"))
        );
        for (args, input) in [
            (&["-f", "/nonexistent/run.yaml", "--policy", policy][..], ""),
            (&["-f", "-", "--policy", policy], "a: [\n"),
            (&["-f", run, "--policy", "/nonexistent/policy.yaml"], ""),
            (&["-f", "-", "--policy", "-"], ""),
            (&["-f", run, "--policy", policy, "-n", "team-b"], ""),
            (&["-f", run, "--policy", policy, "--namespace-label", "odd"], ""),
            (&["-f", run, "--runtime-class", "gvisor"], ""),
            (&[], ""),
        ] {
            let (code, said) = explain(args, input);
            assert_eq!(code, 2, "{args:?}: {said}");
            assert!(!said.contains(": allowed"), "{said}");
        }
    }

    #[test]
    fn help_and_completion_go_to_standard_output_and_are_no_failure() {
        for (args, words) in [
            (&["--help"][..], "Usage: kubectl cofferdam [OPTIONS] <COMMAND>"),
            (&["explain", "--help"], "Usage: kubectl cofferdam explain"),
            (&["completion", "bash"], "kubectl-cofferdam"),
            (&["completion", "zsh"], "#compdef kubectl-cofferdam"),
            (&["completion", "fish"], "complete -c kubectl-cofferdam"),
            (&["completion", "kubectl"], "exec kubectl-cofferdam __complete"),
            (&["__complete", "li"], "list\n:4\n"),
            // Nobody answers for names: there are none, and the shell is not disturbed.
            (&["__complete", "describe", ""], ":4\n"),
            (
                &["version", "--client"],
                concat!("kubectl cofferdam    ", env!("CARGO_PKG_VERSION")),
            ),
        ] {
            let output = plugin(args, "");
            let said = String::from_utf8(output.stdout).unwrap();
            assert_eq!(output.status.code(), Some(0), "{args:?}: {said}");
            assert!(
                said.contains(words) && output.stderr.is_empty(),
                "{args:?}: {said}"
            );
        }
        // The control: what it does not know is an error, and says how it is called.
        let output = plugin(&["completion", "a-shell"], "");
        assert_eq!(output.status.code(), Some(2));
        assert!(output.stdout.is_empty() && !output.stderr.is_empty());
    }

    #[test]
    fn in_a_pod_without_a_kubeconfig_the_pods_own_account_is_meant() {
        let doctor = |variable: &[(&str, &str)]| {
            let output = Command::new(PLUGIN)
                .arg("doctor")
                .env_remove("KUBECONFIG")
                .env_remove("KUBERNETES_SERVICE_HOST")
                .env("HOME", "/nonexistent")
                .envs(variable.iter().copied())
                .output()
                .unwrap();
            assert_eq!(output.status.code(), Some(2));
            String::from_utf8(output.stderr).unwrap()
        };
        let in_pod = ("KUBERNETES_SERVICE_HOST", "127.0.0.1");
        let said = doctor(&[in_pod, ("KUBERNETES_SERVICE_PORT", "1")]);
        assert!(said.contains("the pod's own account cannot be used"), "{said}");
        // The controls: outside of a pod, and in one whose kubeconfig is named, the kubeconfig is meant.
        for variables in [&[][..], &[in_pod, ("KUBECONFIG", "/nonexistent/config")]] {
            let said = doctor(variables);
            assert!(said.contains("failed to read kubeconfig"), "{said}");
        }
    }

    #[test]
    fn a_cluster_that_does_not_answer_is_no_verdict() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let directory = tempfile::tempdir().unwrap();
        let kubeconfig = directory.path().join("config");
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: here\ncontexts: [{{name: here, context: {{cluster: c, user: u}}}}]\n\
             clusters: [{{name: c, cluster: {{server: \"http://{closed}\"}}}}]\nusers: [{{name: u, user: {{}}}}]\n"
        );
        std::fs::write(&kubeconfig, text).unwrap();
        let run = example("agentrun.yaml");
        for kubeconfig in [kubeconfig.to_str().unwrap(), "/nonexistent/config"] {
            let (code, said) = explain(&["-f", run.to_str().unwrap(), "--kubeconfig", kubeconfig], "");
            assert_eq!(code, 2, "{said}");
            assert!(
                said.contains("unknown: the cluster") && said.contains("cannot tell"),
                "{said}"
            );
        }
    }

    #[test]
    fn every_command_says_what_it_cannot_do_and_ends_with_2() {
        for args in [
            &["list"][..],
            &["list", "-A", "-n", "x"],
            &["list", "-o", "xml"],
            &["describe", "a/b"],
            &["describe", "x"],
            &["cancel"],
            &["cancel", "x"],
            &["policy"],
            &["version"],
            &["list", "--as-group", "x"],
            &["nothing"],
            &[],
        ] {
            let output = plugin(args, "");
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
            assert!(output.stdout.is_empty() && !said.is_empty(), "{args:?}");
            assert!(!said.contains('\u{1b}'), "{args:?}: {said}");
        }
    }

    #[test]
    fn the_plugin_is_packed_for_krew_with_the_digests_of_its_archives() {
        let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
        let directory = tempfile::tempdir().unwrap();
        // A small file stands for the program: what is tested is how it is packed.
        let binary = directory.path().join("built");
        std::fs::write(&binary, "#!/bin/sh\n").unwrap();
        let manual = directory.path().join("manual");
        assert!(plugin(&["__man", manual.to_str().unwrap()], "").status.success());
        let pack_for = |platforms: &[&str], uri: &str, into: &str| {
            let into = directory.path().join(into);
            let built = |platform: &&str| format!("{platform}={}", binary.display());
            let output = Command::new(root.join("deploy/krew.sh"))
                .args([&into, &manual])
                .arg(uri)
                .args(platforms.iter().map(built))
                .output()
                .unwrap();
            (output.status.success(), into)
        };
        let pack = |uri: &str, into: &str| pack_for(&["linux-amd64", "darwin-arm64"], uri, into);
        let (done, packed) = pack("https://downloads.example.com/v0.1.0/", "one");
        assert!(done);
        let manifest: serde_json::Value =
            serde_saphyr::from_str(&std::fs::read_to_string(packed.join("cofferdam.yaml")).unwrap()).unwrap();
        let platform = &manifest["spec"]["platforms"][1];
        let name = concat!(
            "kubectl-cofferdam-",
            env!("CARGO_PKG_VERSION"),
            "-darwin-arm64.tar.gz"
        );
        let archive = packed.join(name);
        assert_eq!(
            platform["selector"]["matchLabels"],
            serde_json::json!({"os": "darwin", "arch": "arm64"})
        );
        let listed = Command::new("tar")
            .arg("-tzf")
            .arg(&archive)
            .output()
            .unwrap()
            .stdout;
        let listed = String::from_utf8(listed).unwrap();
        for file in [
            "kubectl-cofferdam",
            "kubectl_complete-cofferdam",
            "LICENSE",
            "man/man1/kubectl-cofferdam.1",
            "man/man1/kubectl-cofferdam-run.1",
        ] {
            assert!(listed.lines().any(|line| line == file), "{file}: {listed}");
        }
        let digest = cofferdam_api::names::digest(&std::fs::read(&archive).unwrap());
        assert_eq!(format!("sha256:{}", platform["sha256"].as_str().unwrap()), digest);
        assert_eq!(
            platform["uri"],
            format!("https://downloads.example.com/v0.1.0/{name}")
        );
        assert_eq!(
            manifest["spec"]["version"],
            concat!("v", env!("CARGO_PKG_VERSION"))
        );
        let (done, without) = pack("", "two");
        assert!(done && !without.join("cofferdam.yaml").exists());
        assert_eq!(
            std::fs::read(without.join(archive.file_name().unwrap())).unwrap(),
            std::fs::read(&archive).unwrap()
        );
        // Nor does one stay that was written for an archive before.
        let (done, again) = pack("", "one");
        assert!(done && !again.join("cofferdam.yaml").exists());
        assert!(!pack_for(&["windows-amd64"], "", "three").0);
        for uri in [
            "http://downloads.example.com/v0.1.0",
            "https://x.example/a\nevil: true",
            "a b",
        ] {
            assert!(!pack(uri, "three").0, "{uri}");
        }
    }
}
