//! Changes by chance.

use serde_json::{Value, json};

use super::nodes::{Node, nodes, remove, replaced};
use super::words::{HOSTILE, within_text};
use super::{Dice, Made, sizes};

/// Fields without which no manifest is one.
const NEEDED: [&str; 4] = [
    "/spec/task",
    "/spec/agent",
    "/spec/limits",
    "/spec/namespaceSelector",
];

/// A good manifest that leaves out some of what it may leave out.
pub fn without_some(mut manifest: Value, dice: &mut Dice) -> Made {
    let top: Vec<Node> = nodes(&manifest)
        .into_iter()
        .filter(|node| matches!(node.pointer.matches('/').count(), 2 | 3))
        .filter(|node| !NEEDED.iter().any(|needed| node.pointer == *needed))
        // Below these, each field is optional; elsewhere some are what the others need.
        .filter(|node| {
            node.pointer.matches('/').count() == 2
                || node.pointer.starts_with("/spec/limits/")
                || node.pointer.starts_with("/spec/defaults/")
        })
        .collect();
    let mut left_out = Vec::new();
    // From the end: an inner field stands behind the one that it is in.
    for node in top.iter().rev() {
        if dice.below(3) == 0 {
            remove(&mut manifest, &node.pointer);
            left_out.push(node.pointer.clone());
        }
    }
    Made {
        what: format!("without {}", left_out.join(", ")),
        changed: left_out,
        manifest,
    }
}

/// A manifest that was changed in one place, in two or in three.
pub fn at_random(mut manifest: Value, dice: &mut Dice) -> Made {
    let (mut what, mut changed) = (Vec::new(), Vec::new());
    for _ in 0..=dice.below(3) {
        let all = nodes(&manifest);
        if all.is_empty() {
            break;
        }
        let node = dice.of(&all);
        let (done, next) = change(&manifest, node, &all, dice);
        what.push(format!("{} {done}", node.pointer));
        changed.push(node.pointer.clone());
        manifest = next;
    }
    Made {
        what: what.join(", then "),
        changed,
        manifest,
    }
}

fn change(manifest: &Value, node: &Node, all: &[Node], dice: &mut Dice) -> (&'static str, Value) {
    let value = manifest.pointer(&node.pointer).unwrap();
    let set = |value: Value| replaced(manifest, &node.pointer, value);
    match dice.below(10) {
        0 => {
            let mut without = manifest.clone();
            remove(&mut without, &node.pointer);
            ("removed", without)
        }
        1 => ("null", set(Value::Null)),
        2 => ("of another type", set(dice.of(&odd_values()).clone())),
        3 => ("hostile", set(json!(dice.of(&HOSTILE)))),
        4 => {
            let text = value.as_str().unwrap_or_default();
            let word = dice.of(&HOSTILE);
            ("hostile inside", set(json!(within_text(text, word, dice))))
        }
        5 => {
            let sized = sizes::at_the_bounds(manifest, node);
            match sized.len() {
                0 => ("as it was", manifest.clone()),
                count => ("at a bound", sized[dice.below(count)].manifest.clone()),
            }
        }
        6 => {
            let mut fields = value.as_object().cloned().unwrap_or_default();
            fields.insert((*dice.of(&HOSTILE)).to_owned(), json!({"deep": nested(50)}));
            ("with a field that nobody knows", set(Value::Object(fields)))
        }
        7 => {
            let twice = match value {
                Value::Array(items) => items.iter().chain(items).cloned().collect(),
                other => json!([other, other]),
            };
            ("twice", set(twice))
        }
        8 => {
            let other = manifest.pointer(&dice.of(all).pointer).unwrap().clone();
            ("what stands elsewhere", set(other))
        }
        _ => {
            let text = value.as_str().unwrap_or("x");
            ("in capitals", set(json!(text.to_uppercase())))
        }
    }
}

fn odd_values() -> [Value; 12] {
    [
        json!(0),
        json!(-1),
        json!(1.5),
        json!(i64::MAX),
        json!(1e300),
        json!(true),
        json!(""),
        json!("x"),
        json!([]),
        json!({}),
        json!([[]]),
        json!({"": ""}),
    ]
}

fn nested(depth: usize) -> Value {
    (0..depth).fold(json!(0), |inner, _| json!({"d": inner}))
}
