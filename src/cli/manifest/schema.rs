//! Holds a manifest against the schema of its kind: unknown fields, types and bounds. The rules in CEL are the API
//! server's, and explanations say so; most of what they refuse the policy engine refuses too.

use serde_json::Value;

use super::tree::{Field, Node, Tree};

/// Something that the API server would refuse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// Line, from 1.
    pub line: u64,
    /// The field.
    pub field: String,
    /// What is wrong.
    pub what: String,
}

/// Everything that is wrong with a whole object but its metadata ([`super::metadata`]). What stands in its status the API
/// server does not look at.
pub fn check(schema: &Value, object: &Tree) -> Vec<Flaw> {
    let mut flaws = Vec::new();
    Check { flaws: &mut flaws }.structure(schema, object, "");
    flaws
}

/// Fields of every object, which no schema of ours describes.
const COMMON: [&str; 4] = ["apiVersion", "kind", "metadata", "status"];

struct Check<'a> {
    flaws: &'a mut Vec<Flaw>,
}

impl Check<'_> {
    fn flaw(&mut self, line: u64, field: &str, what: String) {
        self.flaws.push(Flaw {
            line,
            field: field.trim_start_matches('.').to_owned(),
            what,
        });
    }

    fn structure(&mut self, schema: &Value, tree: &Tree, path: &str) {
        match &tree.node {
            Node::Scalar(value) => self.scalar(schema, value, tree.line, path),
            Node::List(items) if is_type(schema, "array") => self.list(schema, items, tree.line, path),
            Node::Map(fields) if is_type(schema, "object") => self.map(schema, fields, tree.line, path),
            Node::List(_) | Node::Map(_) => self.wrong_type(schema, tree.line, path),
        }
    }

    fn wrong_type(&mut self, schema: &Value, line: u64, path: &str) {
        let wanted = schema
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or("string or integer");
        self.flaw(line, path, format!("must be of type {wanted}"));
    }

    fn scalar(&mut self, schema: &Value, value: &Value, line: u64, path: &str) {
        let has_type = match value {
            // Left out, then.
            Value::Null => return,
            Value::Bool(_) => is_type(schema, "boolean"),
            Value::Number(number) => {
                let whole = number.is_i64() || number.is_u64();
                (whole && (is_type(schema, "integer") || takes_either(schema))) || is_type(schema, "number")
            }
            Value::String(_) => is_type(schema, "string") || takes_either(schema),
            Value::Array(_) | Value::Object(_) => false,
        };
        if !has_type {
            return self.wrong_type(schema, line, path);
        }
        if let Some(words) = schema.get("enum").and_then(Value::as_array)
            && !words.contains(value)
        {
            let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
            self.flaw(line, path, format!("must be one of {}", words.join(", ")));
        }
        match value {
            Value::Number(number) => {
                let number = number.as_f64().unwrap_or_default();
                let bound = |word: &str| schema.get(word).and_then(Value::as_f64);
                self.within(line, path, "", number, (bound("minimum"), bound("maximum")));
            }
            Value::String(text) => {
                self.size(schema, "Length", "characters", text.chars().count(), line, path);
            }
            _ => {}
        }
    }

    fn list(&mut self, schema: &Value, items: &[Tree], line: u64, path: &str) {
        self.size(schema, "Items", "items", items.len(), line, path);
        let mut seen: Vec<String> = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let path = format!("{path}[{index}]");
            if let Some(identity) = identity(schema, item) {
                if seen.contains(&identity) {
                    self.flaw(item.line, &path, "duplicate entry".to_owned());
                }
                seen.push(identity);
            }
            self.structure(schema.get("items").unwrap_or(&Value::Null), item, &path);
        }
    }

    fn map(&mut self, schema: &Value, fields: &[Field], line: u64, path: &str) {
        self.size(schema, "Properties", "entries", fields.len(), line, path);
        let given = |name: &str| {
            fields
                .iter()
                .any(|field| field.name == name && !field.value.is_null())
        };
        for name in schema
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let name = name.as_str().unwrap_or_default();
            if !given(name) {
                self.flaw(line, &format!("{path}.{name}"), "is required".to_owned());
            }
        }
        let properties = schema.get("properties").and_then(Value::as_object);
        for field in fields {
            if path.is_empty() && COMMON.contains(&field.name.as_str()) {
                continue;
            }
            let path = format!("{path}.{}", field.name);
            let known = properties.and_then(|known| known.get(&field.name));
            match known.or_else(|| schema.get("additionalProperties")) {
                Some(known) => self.structure(known, &field.value, &path),
                None if schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true)) => {}
                None => {
                    let known: Vec<&str> = properties
                        .into_iter()
                        .flat_map(|known| known.keys().map(String::as_str))
                        .collect();
                    self.flaw(
                        field.line,
                        &path,
                        format!("unknown field; known here: {}", known.join(", ")),
                    );
                }
            }
        }
    }

    fn size(&mut self, schema: &Value, word: &str, unit: &str, size: usize, line: u64, path: &str) {
        let bound = |end: &str| schema.get(format!("{end}{word}")).and_then(Value::as_f64);
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        self.within(line, path, unit, f64::from(size), (bound("min"), bound("max")));
    }

    fn within(&mut self, line: u64, path: &str, unit: &str, value: f64, bounds: (Option<f64>, Option<f64>)) {
        let unit = if unit.is_empty() {
            String::new()
        } else {
            format!(" {unit}")
        };
        match bounds {
            (Some(least), _) if value < least => {
                self.flaw(line, path, format!("{value}{unit}: at least {least} needed"));
            }
            (_, Some(most)) if value > most => {
                self.flaw(line, path, format!("{value}{unit}: at most {most} allowed"));
            }
            _ => {}
        }
    }
}

fn is_type(schema: &Value, name: &str) -> bool {
    schema.get("type").and_then(Value::as_str) == Some(name)
}

fn takes_either(schema: &Value) -> bool {
    schema.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true))
}

/// What makes an item of a set or a map-like list the same as another.
fn identity(schema: &Value, item: &Tree) -> Option<String> {
    let item = item.to_json();
    match schema.get("x-kubernetes-list-type")?.as_str()? {
        "set" => Some(item.to_string()),
        "map" => {
            let keys = schema.get("x-kubernetes-list-map-keys")?.as_array()?;
            let values = keys
                .iter()
                .filter_map(|key| Some(item.get(key.as_str()?)?.to_string()));
            Some(values.collect::<Vec<_>>().join("/"))
        }
        _ => None,
    }
}
