//! Values at their bounds, and one beyond.

use serde_json::{Value, json};

use super::Made;
use super::nodes::{Node, nodes, replaced};

/// The manifests in which the value at `node` is as small or as large as it may be, and one smaller or larger.
pub fn at_the_bounds(base: &Value, node: &Node) -> Vec<Made> {
    let value = base.pointer(&node.pointer).unwrap();
    let (least, most) = match value {
        Value::String(_) => ("minLength", "maxLength"),
        Value::Array(_) => ("minItems", "maxItems"),
        Value::Object(_) => ("minProperties", "maxProperties"),
        Value::Number(_) => ("minimum", "maximum"),
        _ => return Vec::new(),
    };
    let bound = |word: &str| node.schema[word].as_f64();
    let mut sizes = Vec::new();
    if let Some(least) = bound(least) {
        sizes.extend([least, least - 1.0]);
    }
    if let Some(most) = bound(most) {
        sizes.extend([most, most + 1.0]);
    }
    let allowed = |size: &f64| value.is_number() || *size >= 0.0;
    sizes
        .into_iter()
        .filter(allowed)
        .map(|size| Made {
            what: format!("{} of size {size}", node.pointer),
            changed: vec![node.pointer.clone()],
            manifest: replaced(base, &node.pointer, sized(value, size)),
        })
        .collect()
}

/// `base` with as many items in every list as it may have.
pub fn every_list_full(base: &Value) -> Made {
    let mut manifest = base.clone();
    // From the inside out: an outer list then repeats full inner ones.
    for node in nodes(base).into_iter().rev() {
        let most = node.schema["maxItems"].as_f64();
        let place = manifest.pointer_mut(&node.pointer).unwrap();
        if let (true, Some(most)) = (place.is_array(), most) {
            *place = sized(place, most);
        }
    }
    Made {
        what: "every list full".to_owned(),
        changed: vec!["/spec".to_owned()],
        manifest,
    }
}

/// `value` grown or shrunk to `size`; what was distinct stays so.
fn sized(value: &Value, size: f64) -> Value {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "bounds are whole numbers, written as such"
    )]
    let whole = size as i64;
    let count = usize::try_from(whole).unwrap_or(0);
    match value {
        Value::String(text) => {
            let padding = text.chars().next_back().unwrap_or('x');
            let text = text.chars().chain(std::iter::repeat(padding));
            text.take(count).collect::<String>().into()
        }
        Value::Array(items) => {
            let first = items.first().cloned().unwrap_or_default();
            let more = (0..).map(|index| distinct(&first, index));
            items.iter().cloned().chain(more).take(count).collect()
        }
        Value::Object(fields) => {
            let first = fields.values().next().cloned().unwrap_or_default();
            let more = (0..).map(|index: usize| (format!("k{index}"), first.clone()));
            let fields = fields.clone().into_iter().chain(more).take(count);
            Value::Object(fields.collect())
        }
        Value::Number(_) => json!(whole),
        other => other.clone(),
    }
}

/// An item like `item` that differs from it and from those of other indexes.
fn distinct(item: &Value, index: usize) -> Value {
    match item {
        Value::String(text) => json!(format!("x{index}{text}")),
        Value::Number(_) => json!(1000 + index),
        Value::Object(fields) => {
            let mut fields = fields.clone();
            if fields.contains_key("name") {
                fields.insert("name".to_owned(), json!(format!("n{index}")));
            }
            Value::Object(fields)
        }
        other => other.clone(),
    }
}
