//! What commands write: tables for people, documents for programs, and nothing of a stranger's that moves a cursor.

pub mod json;
pub mod jsonpath;
pub mod paint;
pub mod table;
pub mod time;
pub mod yaml;

use std::io::{self, IsTerminal as _, Write as _};
use std::str::FromStr;

use serde_json::Value;

use crate::failure::Failure;
use jsonpath::Template;

/// How a result is written: `-o`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Columns.
    #[default]
    Table,
    /// More columns.
    Wide,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
    /// `kind/name`, a line each.
    Name,
    /// A template in kubectl's language.
    Jsonpath(Template),
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "wide" => Ok(Self::Wide),
            "json" => Ok(Self::Json),
            "yaml" => Ok(Self::Yaml),
            "name" => Ok(Self::Name),
            other => match other.strip_prefix("jsonpath=") {
                Some(template) => template.parse().map(Self::Jsonpath),
                None => Err("write wide, json, yaml, name or jsonpath=TEMPLATE".to_owned()),
            },
        }
    }
}

impl Format {
    /// The document in this format; nothing for the formats that are no documents.
    ///
    /// # Errors
    /// The template asks for what no document can have.
    pub fn document(&self, value: &Value, for_terminal: bool) -> Result<Option<String>, Failure> {
        match self {
            Self::Table | Self::Wide | Self::Name => Ok(None),
            Self::Json => Ok(Some(json::text(value))),
            Self::Yaml => Ok(Some(yaml::text(value))),
            Self::Jsonpath(template) => template
                .render(value, for_terminal)
                .map(Some)
                .map_err(Failure::Usage),
        }
    }
}

/// Whether standard output is a terminal, which would obey what a stranger wrote.
pub fn to_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Writes to standard output.
///
/// # Errors
/// Nobody reads it.
pub fn out(text: &str) -> Result<(), Failure> {
    out_bytes(text.as_bytes())
}

/// Writes bytes to standard output.
///
/// # Errors
/// Nobody reads it.
pub fn out_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)
        .and_then(|()| out.flush())
        .map_err(|_| Failure::Closed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cofferdam_text::is_hidden;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn formats_are_kubectls() {
        assert_eq!("wide".parse(), Ok(Format::Wide));
        assert!(matches!("jsonpath={.a}".parse(), Ok(Format::Jsonpath(_))));
        for text in ["", "table", "JSON", "jsonpath", "jsonpath={", "go-template={{.}}"] {
            assert!(text.parse::<Format>().is_err(), "{text}");
        }
    }

    fn documents() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "\\PC{0,12}".prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            prop_oneof![
                Just("true"),
                Just("null"),
                Just("1"),
                Just("1e3"),
                Just("-"),
                Just("a: b"),
                Just("# x"),
                Just(""),
                Just("\u{9b}2J"),
                Just("\u{202e}x"),
                Just("~"),
                Just("0x1"),
                Just("yes"),
                Just("2026-11-26"),
            ]
            .prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map(any::<String>(), inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// A terminal obeys nothing of it, and a program reads what was there.
        #[test]
        fn documents_hide_nothing_and_read_back(value in documents()) {
            for text in [json::text(&value), yaml::text(&value)] {
                prop_assert!(text.chars().all(|character| character == '\n' || !is_hidden(character)), "{text:?}");
            }
            prop_assert_eq!(&serde_json::from_str::<Value>(&json::text(&value)).unwrap(), &value);
            let read: Value = serde_saphyr::from_str(&yaml::text(&value)).unwrap();
            prop_assert_eq!(&read, &value, "{}", yaml::text(&value));
        }
    }

    #[test]
    fn documents_look_as_kubectls() {
        let value = json!({"kind": "AgentRun", "metadata": {"name": "x"}, "spec": {"args": ["-c", "a: b"], "none": {}, "empty": []}});
        insta::assert_snapshot!(yaml::text(&value), @r#"
        kind: AgentRun
        metadata:
          name: x
        spec:
          args:
          - "-c"
          - "a: b"
          empty: []
          none: {}
        "#);
    }
}
