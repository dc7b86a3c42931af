//! A document with its line numbers: what is wrong with a manifest is said where it stands.

use serde_json::Value;

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

    /// Whether it says nothing, which is as good as not given.
    pub const fn is_null(&self) -> bool {
        matches!(self.node, Node::Scalar(Value::Null))
    }

    /// Every text that is a value, changed by `change`; names of fields stay.
    pub fn change_texts(&mut self, change: &mut dyn FnMut(&str) -> String) {
        match &mut self.node {
            Node::Scalar(Value::String(text)) => *text = change(text),
            Node::Scalar(_) => {}
            Node::List(items) => items.iter_mut().for_each(|item| item.change_texts(change)),
            Node::Map(fields) => fields
                .iter_mut()
                .for_each(|field| field.value.change_texts(change)),
        }
    }

    /// The same without lines. A field that is null is left out, as the API server takes it.
    pub fn to_json(&self) -> Value {
        match &self.node {
            Node::Scalar(value) => value.clone(),
            Node::List(items) => items.iter().map(Self::to_json).collect(),
            Node::Map(fields) => {
                let set = fields.iter().filter(|field| !field.value.is_null());
                set.map(|field| (field.name.clone(), field.value.to_json()))
                    .collect()
            }
        }
    }
}
