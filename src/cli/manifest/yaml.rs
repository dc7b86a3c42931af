//! From text to documents, as kubectl reads it.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};
use serde_saphyr::{Location, NonFiniteFloatPolicy, Spanned};

use super::scalar;
use super::tree::{Field, Node, Tree};

/// Why a text is not one that kubectl can send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotYaml {
    /// Line, from 1, where it is known.
    pub line: Option<u64>,
    /// What is wrong.
    pub what: String,
}

/// Every document of a file; empty ones are left out.
///
/// # Errors
/// It is not YAML, has a key twice, or a number that JSON has no word for.
pub fn parse(text: &str) -> Result<Vec<Tree>, NotYaml> {
    let mut trees = Vec::new();
    for part in parts(text) {
        for document in part.documents()? {
            let tree = part.tree(document)?;
            if !tree.is_null() {
                trees.push(tree);
            }
        }
    }
    Ok(trees)
}

/// A part of a file that is YAML by itself.
struct Part<'a> {
    text: &'a str,
    lines_before: u64,
}

/// Objects of JSON that follow each other are documents of their own.
fn parts(text: &str) -> Vec<Part<'_>> {
    let whole = || {
        vec![Part {
            text,
            lines_before: 0,
        }]
    };
    if !text.trim_start().starts_with('{') {
        return whole();
    }
    let mut parts = Vec::new();
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
    let mut begin = 0;
    while let Some(object) = stream.next() {
        let end = stream.byte_offset();
        let (Ok(_), Some(before), Some(part)) = (object, text.get(..begin), text.get(begin..end)) else {
            // Not JSON, but YAML may begin so, too.
            return whole();
        };
        let lines_before = before.bytes().filter(|byte| *byte == b'\n').count();
        parts.push(Part {
            text: part,
            lines_before: u64::try_from(lines_before).unwrap_or(u64::MAX),
        });
        begin = end;
    }
    parts
}

impl Part<'_> {
    fn documents(&self) -> Result<Vec<Spanned<Raw>>, NotYaml> {
        let options = serde_saphyr::options! {
            // Whether it is one is seen by its spelling.
            non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        };
        serde_saphyr::from_multiple_with_options(self.text, options).map_err(|error| NotYaml {
            line: error.location().map(|location| self.line(&location)),
            // Without the excerpt: the line is named.
            what: format!("not YAML: {}", error.without_snippet()),
        })
    }

    fn line(&self, location: &Location) -> u64 {
        location.line().saturating_add(self.lines_before)
    }

    fn tree(&self, spanned: Spanned<Raw>) -> Result<Tree, NotYaml> {
        let line = self.line(&spanned.referenced);
        let node = match spanned.value {
            Raw::Scalar(value) => Node::Scalar(match self.plain(&spanned.defined) {
                Some(plain) => scalar::resolve(plain).map_err(|error| NotYaml {
                    line: Some(line),
                    what: error.to_string(),
                })?,
                None => value,
            }),
            Raw::List(items) => {
                let items = items.into_iter().map(|item| self.tree(item));
                Node::List(items.collect::<Result<_, _>>()?)
            }
            Raw::Map(fields) => {
                let fields = fields.into_iter().map(|(name, value)| {
                    Ok(Field {
                        line: self.line(&name.referenced),
                        name: self.key(name),
                        value: self.tree(value)?,
                    })
                });
                Node::Map(fields.collect::<Result<_, _>>()?)
            }
        };
        Ok(Tree { line, node })
    }

    /// A key that is no text becomes one.
    fn key(&self, name: Spanned<String>) -> String {
        match self.plain(&name.defined).map(scalar::resolve) {
            Some(Ok(value @ (Value::Bool(_) | Value::Number(_)))) => value.to_string(),
            _ => name.value,
        }
    }

    /// The spelling of a scalar that stands on one line without quotes and without a tag; its value depends on it.
    fn plain(&self, location: &Location) -> Option<&str> {
        let span = location.span();
        let begin = usize::try_from(span.byte_offset()?).ok()?;
        let end = begin.checked_add(usize::try_from(span.byte_len()?).ok()?)?;
        let before = self.text.get(..begin)?;
        let text = self.text.get(begin..end)?;
        let is_plain = !text.contains('\n') && !text.starts_with(['"', '\'', '|', '>', '!', '&', '*']);
        (is_plain && !is_tagged(before) && !is_block(before)).then(|| text.trim())
    }
}

/// Whether the word before a scalar is a tag.
fn is_tagged(before: &str) -> bool {
    let word = before
        .trim_end_matches([' ', '\t'])
        .rsplit(char::is_whitespace)
        .next();
    word.is_some_and(|word| {
        word.trim_start_matches(['[', '{', ',', ':', '-'])
            .starts_with('!')
    })
}

/// Whether what is before a scalar ends with the header of a block, such as `|-` or `>2`, and perhaps a comment.
fn is_block(before: &str) -> bool {
    let line = before.trim_end().rsplit('\n').next().unwrap_or_default();
    let line = line.split_once(" #").map_or(line, |(line, _)| line).trim_end();
    let header = line.trim_end_matches(|c: char| c.is_ascii_digit() || "+-".contains(c));
    header.ends_with(['|', '>'])
}

/// A value as the library reads it.
#[derive(Debug)]
enum Raw {
    Scalar(Value),
    List(Vec<Spanned<Self>>),
    Map(Vec<(Spanned<String>, Spanned<Self>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Null))
    }

    fn visit_none<E: Error>(self) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        Raw::deserialize(deserializer)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Scalar(value.into()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Scalar(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Scalar(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Raw, E> {
        // What is not finite is told by its spelling.
        Ok(Raw::Scalar(
            Number::from_f64(value).map_or(Value::Null, Value::Number),
        ))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Scalar(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Raw::Map(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    #[test]
    fn names_and_values_know_their_lines() {
        let text = "# a comment\napiVersion: v1\nspec:\n  list:\n  - a: 1\n    b: [x,\n      z]\n  none: null\n---\n---\nsecond: true\n";
        let documents = parse(text).unwrap();
        assert_eq!(documents.len(), 2, "{documents:?}");
        let spec = documents[0].field("spec").unwrap();
        let Node::Map(fields) = &spec.node else {
            panic!("{spec:?}")
        };
        assert_eq!((fields[0].name.as_str(), fields[0].line), ("list", 4));
        let Node::List(items) = &fields[0].value.node else {
            panic!("{fields:?}")
        };
        let Node::Map(item) = &items[0].node else {
            panic!("{items:?}")
        };
        assert_eq!((item[1].name.as_str(), item[1].line), ("b", 6));
        assert_eq!(
            documents[0].to_json(),
            json!({"apiVersion": "v1", "spec": {"list": [{"a": 1, "b": ["x", "z"]}]}})
        );
        assert_eq!(documents[1].to_json(), json!({"second": true}));
    }

    #[test]
    fn a_key_that_stands_twice_is_refused() {
        assert!(parse("a: 1\nb: 2\na: 3\n").is_err());
        assert!(parse("a: 1\nb: 2\n").is_ok());
    }

    #[rstest]
    #[case("1e3", json!(1000))]
    #[case("1_000 # a comment", json!(1000))]
    #[case("017", json!(15))]
    #[case("1e400", json!("1e400"))]
    #[case("\"017\"", json!("017"))]
    #[case("'yes'", json!("yes"))]
    #[case("!!str 017", json!("017"))]
    #[case("!!str yes", json!("yes"))]
    #[case("!!int \"5\"", json!(5))]
    #[case("[017, 'a', 1.0]", json!([15, "a", 1]))]
    #[case("{b: 017}", json!({"b": 15}))]
    #[case("|\n  017\n", json!("017\n"))]
    #[case("|-\n  017", json!("017"))]
    #[case(">2- # a comment\n  017", json!("017"))]
    #[case("\n  017", json!(15))]
    #[case("two\n  words", json!("two words"))]
    #[case("\"ü: 1\"", json!("ü: 1"))]
    fn scalars_are_what_they_are_to_kubectl(#[case] text: &str, #[case] value: Value) {
        let documents = parse(&format!("ü: ö\na: {text}\n")).unwrap();
        assert_eq!(documents[0].field("a").unwrap().to_json(), value);
    }

    #[test]
    fn an_alias_is_what_its_anchor_is() {
        let documents = parse("a: &x 017\nb: *x\nc: &y \"017\"\nd: *y\n").unwrap();
        assert_eq!(
            documents[0].to_json(),
            json!({"a": 15, "b": 15, "c": "017", "d": "017"})
        );
    }

    #[test]
    fn keys_are_texts() {
        let documents = parse("{1: a, yes: b, \"no\": c}").unwrap();
        assert_eq!(documents[0].to_json(), json!({"1": "a", "true": "b", "no": "c"}));
    }

    #[test]
    fn infinity_is_refused_with_its_line() {
        let refused = parse("a: 1\nb: .inf\n").unwrap_err();
        assert_eq!(refused.line, Some(2));
        assert!(refused.what.contains("cannot be sent"), "{refused:?}");
    }

    #[test]
    fn objects_of_json_may_follow_each_other() {
        let documents = parse("{\"a\": 1}\n{\"a\": {\n\"b\": 1.0}}").unwrap();
        assert_eq!(documents[0].to_json(), json!({"a": 1}));
        assert_eq!(documents[1].to_json(), json!({"a": {"b": 1}}));
        let Node::Map(fields) = &documents[1].field("a").unwrap().node else {
            panic!("{documents:?}")
        };
        assert_eq!(fields[0].line, 3);
        assert_eq!(parse("{a: 1}\n").unwrap().len(), 1, "YAML that begins like JSON");
    }
}
