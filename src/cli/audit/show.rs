//! `audit show`: the records of a run as lines.

use serde_json::Value;

use super::ocsf::{self, Tags};
use super::whole::Whole;
use crate::failure::{Exit, Failure};
use crate::output::Target;
use crate::place::{Cluster, Flags, Patience};
use crate::print;
use cofferdam_text::{bounded, escape};
use cofferdam_wire::record::{Record, RecordEvent};

/// Longest text of a line.
const LINE: usize = 400;

/// Which run's records, and how to write them.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    target: Target,
    /// Go on with what comes, until the run is over.
    #[arg(short, long)]
    follow: bool,
    /// Only what was denied.
    #[arg(long)]
    denied: bool,
    /// json: the lines as the archive chains them; ocsf: an event of the Open Cybersecurity Schema Framework 1.8 for each.
    #[arg(short, long, visible_alias = "format", value_name = "json|ocsf")]
    output: Option<Form>,
}

/// How a record is written other than in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    Json,
    Ocsf,
}

/// Writes them.
///
/// # Errors
/// They do not come.
pub async fn main(args: &Args, flags: &Flags) -> Result<Exit, Failure> {
    let patience = if args.follow {
        Patience::Stream
    } else {
        Patience::Answer
    };
    let Cluster { client, namespace } = flags.connect(patience).await?;
    let output = args.target.output(&client, &namespace).await?;
    let mut lines = Lines::new(args.output, args.denied, print::to_terminal());
    if args.follow {
        output.follow(|piece| print::out(&lines.piece(piece)?)).await?;
    } else {
        let mut fetched = output.records(None).await?;
        if args.output == Some(Form::Ocsf) {
            lines.tags = Tags::of(&mut fetched.spool)?;
        }
        fetched
            .spool
            .each_piece(|piece| print::out(&lines.piece(piece)?))?;
    }
    Ok(Exit::Done)
}

/// Makes lines of pieces.
struct Lines {
    form: Option<Form>,
    denied: bool,
    for_terminal: bool,
    whole: Whole,
    tags: Tags,
}

impl Lines {
    fn new(form: Option<Form>, denied: bool, for_terminal: bool) -> Self {
        Self {
            form,
            denied,
            for_terminal,
            whole: Whole::default(),
            tags: Tags::default(),
        }
    }

    fn piece(&mut self, piece: &[u8]) -> Result<String, Failure> {
        let mut whole = std::mem::take(&mut self.whole);
        let mut text = String::new();
        whole.take(piece, |line| {
            text.extend(self.line(line));
            Ok(())
        })?;
        self.whole = whole;
        Ok(text)
    }

    fn line(&mut self, line: &[u8]) -> Option<String> {
        let value: Option<Value> = serde_json::from_slice(line).ok();
        let record: Option<Record> = serde_json::from_slice(line).ok();
        let is_denial = matches!(
            record.as_ref().map(|record| &record.event),
            Some(RecordEvent::Denied { .. })
        );
        if self.denied && !is_denial {
            return None;
        }
        let text = match self.form {
            None => return Some(in_words(value, record, line)),
            // Records are text; what is none is no record.
            Some(Form::Json) => String::from_utf8_lossy(line).into_owned(),
            Some(Form::Ocsf) => {
                self.tags.take(line);
                ocsf::event(line, &self.tags).to_string()
            }
        };
        let text = if self.for_terminal { escape(&text) } else { text };
        Some(format!("{text}\n"))
    }
}

fn in_words(value: Option<Value>, record: Option<Record>, line: &[u8]) -> String {
    match (value, record) {
        (Some(value), Some(record)) => format!("{}\n", told(&value, &record)),
        _ => format!("?  {}\n", bounded(&String::from_utf8_lossy(line), LINE)),
    }
}

/// What became of a token of an App, in words.
fn of_token(event: &RecordEvent) -> String {
    match event {
        RecordEvent::CredentialIssued {
            credential,
            repositories,
            permissions,
            expires,
        } => format!(
            "token of {credential} made for {} ({}), until {expires}",
            repositories.join(", "),
            permissions.join(", ")
        ),
        RecordEvent::CredentialRevoked {
            credential,
            repositories,
        } => format!("token of {credential} for {} revoked", repositories.join(", ")),
        RecordEvent::RevocationUnknown {
            credential,
            repositories,
            expires,
            message,
        } => format!(
            "TOKEN NOT REVOKED  that of {credential} for {} ends at {expires} at the latest: {message}",
            repositories.join(", ")
        ),
        _ => String::new(),
    }
}

/// A record in words.
fn told(value: &Value, record: &Record) -> String {
    let word = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default();
    // As it is spelled, also where this version does not know the word.
    let cause = || {
        value
            .pointer("/data/cause")
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let source = word("source").split('/').next().unwrap_or_default();
    let what = match &record.event {
        RecordEvent::Allowed {
            host,
            method,
            path,
            rules,
            credential,
            by,
            ..
        } => {
            let path = path.as_deref().unwrap_or_default();
            let with = credential
                .as_ref()
                .map_or_else(String::new, |name| format!(", with credential {name}"));
            format!(
                "allowed  {method} {host}{path} for {by}{with}, by {}",
                rules.join(", ")
            )
        }
        RecordEvent::Denied {
            host,
            method,
            path,
            code,
            message,
            by,
            count,
            ..
        } => {
            let path = path.as_deref().unwrap_or_default();
            let times = if *count > 1 {
                format!(" {count} times")
            } else {
                String::new()
            };
            format!("denied   {method} {host}{path} for {by}{times}: {code}: {message}")
        }
        RecordEvent::Closed {
            host,
            sent,
            received,
            cause: _,
        } => {
            format!(
                "closed   {host}: {sent} bytes sent, {received} received, {}",
                cause()
            )
        }
        RecordEvent::IsolationLost { probe, detail } => format!("ISOLATION LOST  {probe}: {detail}"),
        RecordEvent::PodMutated { built, live } => format!("POD MUTATED  built {built}, live {live}"),
        event @ (RecordEvent::CredentialIssued { .. }
        | RecordEvent::CredentialRevoked { .. }
        | RecordEvent::RevocationUnknown { .. }) => of_token(event),
        RecordEvent::SinkFailed { waited_seconds } => format!(
            "WENT ON WITHOUT EVIDENCE  the archive had acknowledged nothing for {waited_seconds} s, and policy lets the run go on"
        ),
        RecordEvent::StreamOpened => "the source begins".to_owned(),
        RecordEvent::StreamClosed { count, cause: _ } => {
            format!("the source ends after {count} records: {}", cause())
        }
        RecordEvent::Unknown => {
            let data = value.get("data").map(Value::to_string).unwrap_or_default();
            format!("{} {data}", word("type"))
        }
    };
    let seq = value.get("seq").and_then(Value::as_u64).unwrap_or_default();
    let class = if word("class") == "Observed" {
        ""
    } else {
        " (reported)"
    };
    format!(
        "{seq:>6}  {}  {}{class}  {}",
        escape(word("time")),
        escape(source),
        bounded(&what, LINE)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use cofferdam_text::is_hidden;
    use proptest::prelude::*;
    use serde_json::json;

    fn line(kind: &str, data: &Value) -> String {
        let record = json!({"seq": 7, "time": "2026-11-26T10:00:00Z", "run": "u", "source": "gateway/pod/1-1", "sourceSeq": 3,
            "class": "Observed", "version": 3, "type": kind, "data": data, "prev": "00"});
        format!("{record}\n")
    }

    fn shown(text: &str) -> String {
        Lines::new(None, false, true).piece(text.as_bytes()).unwrap()
    }

    #[test]
    fn records_are_told_in_words() {
        let denied = json!({"host": "evil.test:443", "method": "CONNECT", "code": "HostNotAllowed", "layer": "SandboxPolicy/default",
            "message": "no rule allows it", "by": "agent", "count": 2});
        let allowed = json!({"host": "a.test:443", "method": "GET", "path": "/x", "address": "203.0.113.1:443", "rules": ["SandboxPolicy/default/a"], "by": "agent"});
        let text = [
            line("Allowed", &allowed),
            line("Denied", &denied),
            line(
                "Closed",
                &json!({"host": "a.test:443", "sent": 1, "received": 2, "cause": "Ended"}),
            ),
            line("StreamOpened", &Value::Null),
            line("Later", &json!({"tokens": 5})),
            "no record\n".to_owned(),
        ]
        .concat();
        insta::assert_snapshot!(shown(&text));
        assert_eq!(
            Lines::new(None, true, true)
                .piece(text.as_bytes())
                .unwrap()
                .lines()
                .count(),
            1
        );
        assert_eq!(
            Lines::new(Some(Form::Json), false, false)
                .piece(text.as_bytes())
                .unwrap(),
            text
        );
    }

    proptest! {
        #[test]
        fn hosts_and_paths_move_no_cursor_and_pieces_may_be_cut_anywhere(host in any::<String>(), at in any::<usize>()) {
            let data = json!({"host": host, "method": host, "code": host, "layer": null, "message": host, "by": host, "count": 1});
            let text = [line("Denied", &data), line(&format!("x{host}"), &data)].concat();
            let whole = shown(&text);
            prop_assert!(whole.chars().all(|character| character == '\n' || !is_hidden(character)), "{whole:?}");
            let mut lines = Lines::new(None, false, true);
            let (one, two) = text.as_bytes().split_at(at % text.len());
            let cut = [lines.piece(one).unwrap(), lines.piece(two).unwrap()].concat();
            prop_assert_eq!(cut, whole);
        }
    }
}
