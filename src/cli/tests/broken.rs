//! The command against an API server on loopback that breaks off, lies and swears: a message and an exit code each, and never
//! a part of a patch.

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::process::{Command, Output};
    use std::sync::Arc;

    use serde_json::json;

    /// What the server does with a request for the patch from byte `from` on.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Patch {
        Whole,
        /// Sends some bytes of a chunked answer and drops the connection.
        DropsAfter(usize),
        /// Announces all bytes by their number and drops the connection after some.
        FallsShort(usize),
        /// Ends the answer as if all were there.
        EndsAfter(usize),
        Altered,
        /// Refuses with this code, and a message that a terminal would obey.
        Refused(u16),
        /// Is no HTTP.
        Noise,
    }

    fn bytes() -> Vec<u8> {
        let mut patch = b"diff --git a/a b/a\n--- a/a\n+++ b/a\n@@ -1 +1,9 @@\n".to_vec();
        patch.extend((0..200_u32).flat_map(|line| format!("+{line} \x1b[2J\u{202e}\n").into_bytes()));
        patch
    }

    fn summary() -> String {
        let patch = bytes();
        json!({
        "apiVersion": "output.cofferdam.dev/v1alpha1", "kind": "AgentRunSummary",
        "metadata": {"name": "fix", "namespace": "team-a", "uid": "0b7c"},
        // Of an archive of the version before: it does not say how far the chain goes.
        "record": {"version": 1, "requests": 0, "deniedRequests": 0, "lastDenied": [], "isolationLost": null,
            "receipt": {"version": 1, "runUid": "0b7c", "receivedAt": "t", "manifest": {"version": 1, "stopped": null, "refused": [],
                "patches": [{"repository": "app", "baseCommit": "c".repeat(40), "bytes": patch.len(),
                    "digest": cofferdam_api::names::digest(&patch), "files": 1, "insertions": 200, "deletions": 0,
                    "snapshot": "Final"}]}}},
    })
    .to_string()
    }

    fn answer(mut stream: TcpStream, behaviour: Patch) -> std::io::Result<()> {
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        let head = lines.next().transpose()?.unwrap_or_default();
        for line in lines {
            if line?.is_empty() {
                break;
            }
        }
        let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let document = |code: u16, body: &str| {
            format!(
                "HTTP/1.1 {code} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            )
        };
        if target.contains("/summary") {
            return stream.write_all(document(200, &summary()).as_bytes());
        }
        if !target.contains("/patch") {
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404, "reason": "NotFound", "message": "none"});
            return stream.write_all(document(404, &status.to_string()).as_bytes());
        }
        let from = target
            .split("from=")
            .nth(1)
            .and_then(|from| from.parse().ok())
            .unwrap_or(0);
        let mut rest = bytes().split_off(from);
        let length = rest.len();
        let (sent, chunked, ends) = match behaviour {
            Patch::Whole => (length, true, true),
            Patch::DropsAfter(count) => (count.min(length), true, count >= length),
            Patch::EndsAfter(count) => (count.min(length), true, true),
            Patch::FallsShort(count) => (count.min(length), false, true),
            Patch::Altered => {
                for byte in &mut rest {
                    *byte ^= 1;
                }
                (length, true, true)
            }
            Patch::Refused(code) => {
                let message = "no \u{1b}[2J\u{202e}";
                let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": "x", "message": message});
                return stream.write_all(document(code, &status.to_string()).as_bytes());
            }
            Patch::Noise => return stream.write_all(b"\x00\xffSSH-2.0-what\r\n\r\n"),
        };
        let framing = if chunked {
            "Transfer-Encoding: chunked".to_owned()
        } else {
            format!("Content-Length: {length}")
        };
        write!(
            stream,
            "HTTP/1.1 200 OK\r\n{framing}\r\nConnection: close\r\n\r\n"
        )?;
        let part = rest.get(..sent).unwrap_or_default();
        if !chunked {
            return stream.write_all(part);
        }
        if !part.is_empty() {
            write!(stream, "{:x}\r\n", part.len())?;
            stream.write_all(part)?;
            stream.write_all(b"\r\n")?;
        }
        if ends {
            stream.write_all(b"0\r\n\r\n")?;
        }
        Ok(())
    }

    /// The command, at a server that behaves so.
    fn plugin(arguments: &[&str], behaviour: Patch) -> Output {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let listener = Arc::new(listener);
        let accepting = Arc::clone(&listener);
        // It ends with the test's process.
        std::thread::spawn(move || {
            for stream in accepting.incoming().flatten() {
                // Who drops a connection is told of it.
                let _ = answer(stream, behaviour);
            }
        });
        let directory = tempfile::tempdir().unwrap();
        let kubeconfig = directory.path().join("kubeconfig");
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "x",
            "clusters": [{"name": "x", "cluster": {"server": format!("http://{address}")}}],
            "users": [{"name": "x", "user": {}}],
            "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x", "namespace": "team-a"}}],
        });
        std::fs::write(&kubeconfig, config.to_string()).unwrap();
        Command::new(env!("CARGO_BIN_EXE_kubectl-cofferdam"))
            .args(arguments)
            .env("KUBECONFIG", &kubeconfig)
            .output()
            .unwrap()
    }

    #[test]
    fn a_patch_comes_whole_however_often_the_connection_breaks() {
        for behaviour in [
            Patch::Whole,
            Patch::DropsAfter(700),
            Patch::EndsAfter(700),
            Patch::FallsShort(700),
        ] {
            let output = plugin(&["diff", "fix"], behaviour);
            assert_eq!(
                output.status.code(),
                Some(0),
                "{behaviour:?}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            assert!(
                output.stdout == bytes(),
                "{behaviour:?}: {} bytes",
                output.stdout.len()
            );
        }
    }

    #[test]
    fn of_a_patch_that_does_not_come_whole_there_is_no_byte_and_an_exit_code() {
        for (behaviour, code, word) in [
            (Patch::DropsAfter(0), 2, "broke off after 0 bytes"),
            (Patch::EndsAfter(0), 2, "its end is missing"),
            (Patch::FallsShort(0), 2, "broke off after 0 bytes"),
            (Patch::Altered, 2, "is not the one that the archive received"),
            (Patch::Refused(403), 2, "no "),
            (Patch::Refused(404), 3, "no "),
            (Patch::Refused(503), 2, "try again in a moment"),
            (Patch::Noise, 2, "the patch of AgentRun team-a/fix"),
        ] {
            for arguments in [&["diff", "fix"][..], &["diff", "fix", "--stat"]] {
                let output = plugin(arguments, behaviour);
                let said = String::from_utf8(output.stderr).unwrap();
                assert_eq!(output.status.code(), Some(code), "{behaviour:?}: {said}");
                assert!(
                    output.stdout.is_empty() && said.contains(word),
                    "{behaviour:?}: {said}"
                );
                assert!(!said.contains(['\u{1b}', '\u{202e}']), "{behaviour:?}: {said:?}");
            }
        }
    }

    /// An archive of before the upgrade does not say where the chain ends, and the command says that, not that all is well.
    #[test]
    fn a_run_of_before_the_upgrade_is_told_as_one() {
        let output = plugin(&["verify", "fix"], Patch::Whole);
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert_ne!(output.status.code(), Some(0), "{said}");
        let output = plugin(&["diff", "fix", "--list"], Patch::Whole);
        assert_eq!(output.status.code(), Some(0));
        assert!(String::from_utf8_lossy(&output.stdout).starts_with("app\tsha256:"));
    }
}
