//! YAML with its line numbers: what is wrong with a manifest is said where it stands.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};
use serde_saphyr::Spanned;

/// A value of a document.
#[derive(Clone, Debug)]
pub struct Tree {
    /// Its line, from 1.
    pub line: u64,
    /// What it is.
    pub node: Node,
}

/// What a value is.
#[derive(Clone, Debug)]
pub enum Node {
    /// Everything without parts.
    Scalar(Value),
    /// A list.
    List(Vec<Tree>),
    /// Fields, in their order.
    Map(Vec<Field>),
}

/// A field of a mapping.
#[derive(Clone, Debug)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// The line of its name.
    pub line: u64,
    /// Its value.
    pub value: Tree,
}

/// Every document of a file; empty ones are left out.
///
/// # Errors
/// It is not YAML, or has a key twice.
pub fn parse(text: &str) -> Result<Vec<Tree>, serde_saphyr::Error> {
    let documents: Vec<Spanned<Node>> = serde_saphyr::from_multiple(text)?;
    Ok(documents
        .into_iter()
        .map(Tree::from)
        .filter(|tree| !matches!(tree.node, Node::Scalar(Value::Null)))
        .collect())
}

impl Tree {
    /// The field of a mapping.
    pub fn field(&self, name: &str) -> Option<&Self> {
        match &self.node {
            Node::Map(fields) => fields
                .iter()
                .find(|field| field.name == name)
                .map(|field| &field.value),
            Node::Scalar(_) | Node::List(_) => None,
        }
    }

    /// A text.
    pub fn text(&self) -> Option<&str> {
        match &self.node {
            Node::Scalar(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// The same without lines. A field that is null is left out, as the API server takes it.
    pub fn to_json(&self) -> Value {
        match &self.node {
            Node::Scalar(value) => value.clone(),
            Node::List(items) => items.iter().map(Self::to_json).collect(),
            Node::Map(fields) => {
                let set = fields
                    .iter()
                    .filter(|field| !matches!(field.value.node, Node::Scalar(Value::Null)));
                set.map(|field| (field.name.clone(), field.value.to_json()))
                    .collect()
            }
        }
    }
}

impl From<Spanned<Node>> for Tree {
    fn from(spanned: Spanned<Node>) -> Self {
        Self {
            line: spanned.referenced.line(),
            node: spanned.value,
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_none<E: Error>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Node, E> {
        Number::from_f64(value)
            .map(|number| Node::Scalar(number.into()))
            .ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element::<Spanned<Node>>()? {
            items.push(item.into());
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut fields = Vec::new();
        while let Some(name) = map.next_key::<Spanned<String>>()? {
            fields.push(Field {
                line: name.referenced.line(),
                name: name.value,
                value: map.next_value::<Spanned<Node>>()?.into(),
            });
        }
        Ok(Node::Map(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            serde_json::json!({"apiVersion": "v1", "spec": {"list": [{"a": 1, "b": ["x", "z"]}]}})
        );
        assert_eq!(documents[1].to_json(), serde_json::json!({"second": true}));
    }

    #[test]
    fn a_key_that_stands_twice_is_refused() {
        assert!(parse("a: 1\nb: 2\na: 3\n").is_err());
        assert!(parse("a: 1\nb: 2\n").is_ok());
    }
}
