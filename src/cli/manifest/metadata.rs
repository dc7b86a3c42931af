//! Names, labels and annotations as the API server takes them. Pure.

use serde_json::Value;

use super::schema::Flaw;
use super::tree::{Field, Node, Tree};

/// Whether objects of a kind stand in a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// They do.
    Namespaced,
    /// They do not.
    Cluster,
}

/// What names of a kind are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// DNS labels.
    Label,
    /// DNS subdomains.
    Subdomain,
}

/// Longest name of a label's or an annotation's key, of a label's value, and of a DNS label.
const LABEL_LIMIT: usize = 63;
/// Longest DNS subdomain.
const SUBDOMAIN_LIMIT: usize = 253;
/// The API server cuts `generateName` here and adds five characters.
const PREFIX_LIMIT: usize = LABEL_LIMIT - GENERATED.len();
/// Characters such as it adds.
const GENERATED: &str = "x2x4x";
/// All annotations of an object.
const ANNOTATIONS_LIMIT: usize = 256 * 1024;

const TEXTS: [&str; 8] = [
    "creationTimestamp",
    "deletionTimestamp",
    "generateName",
    "name",
    "namespace",
    "resourceVersion",
    "selfLink",
    "uid",
];
const NUMBERS: [&str; 2] = ["deletionGracePeriodSeconds", "generation"];
const MAPS: [&str; 2] = ["annotations", "labels"];
const LISTS: [&str; 3] = ["finalizers", "managedFields", "ownerReferences"];

/// Everything that is wrong with an object's metadata.
pub fn check(object: &Tree, scope: Scope, names: Names) -> Vec<Flaw> {
    let mut flaws = Vec::new();
    let absent = Tree {
        line: object.line,
        node: Node::Map(Vec::new()),
    };
    let given = object.field("metadata").filter(|metadata| !metadata.is_null());
    let metadata = given.unwrap_or(&absent);
    let Node::Map(fields) = &metadata.node else {
        return vec![flaw(
            metadata.line,
            "metadata",
            "must be of type object".to_owned(),
        )];
    };
    for field in fields {
        flaws.extend(shape(field));
    }
    flaws.extend(prefix(metadata));
    flaws.extend(name(metadata, names));
    flaws.extend(namespace(metadata, scope));
    for field in metadata.field("labels").map(fields_of).unwrap_or_default() {
        flaws.extend(label(field));
    }
    flaws.extend(annotations(metadata));
    flaws
}

fn flaw(line: u64, field: &str, what: String) -> Flaw {
    Flaw {
        line,
        field: field.to_owned(),
        what,
    }
}

/// Whether a field is known and of its type.
fn shape(field: &Field) -> Option<Flaw> {
    let name = field.name.as_str();
    let path = format!("metadata.{name}");
    let wanted = match &field.value.node {
        Node::Scalar(Value::Null) => None,
        Node::Scalar(Value::String(_)) if TEXTS.contains(&name) => None,
        Node::Scalar(Value::Number(number)) if NUMBERS.contains(&name) && number.is_i64() => None,
        Node::Map(_) if MAPS.contains(&name) => None,
        Node::List(_) if LISTS.contains(&name) => None,
        _ if TEXTS.contains(&name) => Some("string"),
        _ if NUMBERS.contains(&name) => Some("integer"),
        _ if MAPS.contains(&name) => Some("object"),
        _ if LISTS.contains(&name) => Some("array"),
        _ => {
            let mut known = [&TEXTS[..], &NUMBERS, &MAPS, &LISTS].concat();
            known.sort_unstable();
            let what = format!("unknown field; known here: {}", known.join(", "));
            return Some(flaw(field.line, &path, what));
        }
    };
    wanted.map(|wanted| {
        flaw(
            field.value.line,
            &path,
            format!("must be of type {wanted}{}", quoted(&field.value)),
        )
    })
}

/// What YAML takes for something else than the text that its author meant.
fn quoted(value: &Tree) -> &'static str {
    match value.node {
        Node::Scalar(Value::Number(_) | Value::Bool(_)) => ": put it in quotes",
        _ => "",
    }
}

fn name(metadata: &Tree, names: Names) -> Option<Flaw> {
    let text = |field: &str| {
        metadata
            .field(field)
            .and_then(|value| Some((value.line, value.text()?)))
    };
    let given = text("name").filter(|(_, name)| !name.is_empty());
    let (line, field, name) = match (
        given,
        text("generateName").filter(|(_, prefix)| !prefix.is_empty()),
    ) {
        (Some((line, name)), _) => (line, "metadata.name", name.to_owned()),
        (None, Some((line, prefix))) => {
            let prefix: String = prefix.chars().take(PREFIX_LIMIT).collect();
            (line, "metadata.generateName", format!("{prefix}{GENERATED}"))
        }
        // A value of another type is told as such.
        (None, None)
            if metadata
                .field("name")
                .is_some_and(|name| name.text().is_none() && !name.is_null()) =>
        {
            return None;
        }
        (None, None) => {
            let what = "is required: give the object a name, or a generateName".to_owned();
            return Some(flaw(metadata.line, "metadata.name", what));
        }
    };
    let is_right = match names {
        Names::Label => is_dns_label(&name),
        Names::Subdomain => is_subdomain(&name),
    };
    let what = match names {
        Names::Label => {
            "must be a DNS label of at most 63 characters: a-z, 0-9 and '-', starting and ending with a letter or digit"
        }
        Names::Subdomain => {
            "must be a DNS name of at most 253 characters: a-z, 0-9, '-' and '.', each part starting and ending with a letter \
             or digit"
        }
    };
    (!is_right).then(|| flaw(line, field, what.to_owned()))
}

/// The API server looks at `generateName` beside a name, too. A hyphen at its end is followed by what is generated.
fn prefix(metadata: &Tree) -> Option<Flaw> {
    let given = metadata.field("generateName")?;
    metadata.field("name")?.text().filter(|name| !name.is_empty())?;
    let prefix = given.text().filter(|prefix| !prefix.is_empty())?;
    let is_right = is_subdomain(prefix) || prefix.strip_suffix('-').is_some_and(is_subdomain);
    let what = "must be the beginning of a DNS name, or be left out beside a name";
    (!is_right).then(|| flaw(given.line, "metadata.generateName", what.to_owned()))
}

fn namespace(metadata: &Tree, scope: Scope) -> Option<Flaw> {
    let given = metadata.field("namespace")?;
    let name = given.text().filter(|name| !name.is_empty())?;
    let what = match scope {
        Scope::Cluster => "must be left out: an object of this kind stands in no namespace",
        Scope::Namespaced if !is_dns_label(name) => {
            "must be the name of a namespace: at most 63 of a-z, 0-9 and '-', starting and ending with a letter or digit"
        }
        Scope::Namespaced => return None,
    };
    Some(flaw(given.line, "metadata.namespace", what.to_owned()))
}

fn fields_of(map: &Tree) -> &[Field] {
    match &map.node {
        Node::Map(fields) => fields,
        Node::Scalar(_) | Node::List(_) => &[],
    }
}

fn label(field: &Field) -> Option<Flaw> {
    let path = format!("metadata.labels.{}", field.name);
    let what = if is_qualified(&field.name) {
        match &field.value.node {
            Node::Scalar(Value::Null) => return None,
            Node::Scalar(Value::String(value)) if is_label_value(value) => return None,
            Node::Scalar(Value::String(_)) => {
                "must be at most 63 letters, digits, '-', '_' and '.', starting and ending with a letter or digit".to_owned()
            }
            _ => format!("must be of type string{}", quoted(&field.value)),
        }
    } else {
        "is no key of a label: at most 63 letters, digits, '-', '_' and '.' after an optional DNS name and '/'".to_owned()
    };
    Some(flaw(field.line, &path, what))
}

fn annotations(metadata: &Tree) -> Vec<Flaw> {
    let mut flaws = Vec::new();
    let mut size = 0;
    let annotations = metadata.field("annotations");
    for field in annotations.map(fields_of).unwrap_or_default() {
        let path = format!("metadata.annotations.{}", field.name);
        match &field.value.node {
            Node::Scalar(Value::Null) => {}
            Node::Scalar(Value::String(value)) => size += field.name.len() + value.len(),
            _ => {
                let what = format!("must be of type string{}", quoted(&field.value));
                flaws.push(flaw(field.line, &path, what));
            }
        }
        if !is_qualified(&field.name.to_lowercase()) {
            let what = "is no key of an annotation: at most 63 letters, digits, '-', '_' and '.' after an optional DNS name and '/'";
            flaws.push(flaw(field.line, &path, what.to_owned()));
        }
    }
    if size > ANNOTATIONS_LIMIT {
        let line = annotations.map_or(metadata.line, |annotations| annotations.line);
        let what = format!("{size} bytes: at most {ANNOTATIONS_LIMIT} allowed");
        flaws.push(flaw(line, "metadata.annotations", what));
    }
    flaws
}

fn is_lower(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

/// At most 63 of a-z, 0-9 and `-`, with neither end a hyphen.
fn is_dns_label(text: &str) -> bool {
    text.len() <= LABEL_LIMIT && is_part(text)
}

fn is_part(text: &str) -> bool {
    let ends = |byte: Option<&u8>| byte.is_some_and(|byte| is_lower(*byte));
    let bytes = text.as_bytes();
    ends(bytes.first()) && ends(bytes.last()) && bytes.iter().all(|byte| is_lower(*byte) || *byte == b'-')
}

/// Parts between dots; only the whole has a bound.
fn is_subdomain(text: &str) -> bool {
    text.len() <= SUBDOMAIN_LIMIT && text.split('.').all(is_part)
}

fn is_label_value(text: &str) -> bool {
    text.is_empty() || is_label_name(text)
}

fn is_label_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    text.len() <= LABEL_LIMIT
        && ends(bytes.first())
        && ends(bytes.last())
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

/// `name` or `prefix/name`.
fn is_qualified(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => is_subdomain(prefix) && is_label_name(name),
        None => is_label_name(key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::yaml::parse;
    use rstest::rstest;

    fn flaws(metadata: &str) -> Vec<String> {
        let documents = parse(&format!("kind: AgentRun\nmetadata: {metadata}\n")).unwrap();
        check(&documents[0], Scope::Namespaced, Names::Label)
            .into_iter()
            .map(|flaw| format!("{}: {}", flaw.field, flaw.what))
            .collect()
    }

    #[rstest]
    #[case("{name: a}")]
    #[case(
        "{name: fix-1, namespace: team-a, labels: {tier: \"1\", a.b/c_D: x.y, empty: \"\"}, annotations: {A: \"any thing\"}}"
    )]
    #[case("{generateName: fix-}")]
    #[case("{name: a, generateName: any-}")]
    #[case(
        "{name: a, uid: u, resourceVersion: \"7\", generation: 1, managedFields: [], creationTimestamp: null}"
    )]
    fn what_the_api_server_takes(#[case] metadata: &str) {
        assert_eq!(flaws(metadata), Vec::<String>::new());
    }

    #[rstest]
    #[case("{}", "metadata.name: is required")]
    #[case("{name: }", "metadata.name: is required")]
    #[case("{name: \"\"}", "metadata.name: is required")]
    #[case("{name: 1}", "metadata.name: must be of type string: put it in quotes")]
    #[case("{name: on}", "metadata.name: must be of type string: put it in quotes")]
    #[case("{name: Fix}", "metadata.name: must be a DNS label")]
    #[case("{name: a.b}", "metadata.name: must be a DNS label")]
    #[case("{name: -a}", "metadata.name: must be a DNS label")]
    #[case(
        "{name: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa}",
        "metadata.name: must be a DNS label"
    )]
    #[case("{generateName: Fix-}", "metadata.generateName: must be a DNS label")]
    #[case(
        "{name: a, generateName: Fix_}",
        "metadata.generateName: must be the beginning of a DNS name"
    )]
    #[case(
        "{name: a, namespace: Team}",
        "metadata.namespace: must be the name of a namespace"
    )]
    #[case(
        "{name: a, labels: {tier: 1}}",
        "metadata.labels.tier: must be of type string: put it in quotes"
    )]
    #[case(
        "{name: a, labels: {tier: yes}}",
        "metadata.labels.tier: must be of type string: put it in quotes"
    )]
    #[case("{name: a, labels: {tier: a b}}", "metadata.labels.tier: must be at most 63")]
    #[case(
        "{name: a, labels: {a/b/c: x}}",
        "metadata.labels.a/b/c: is no key of a label"
    )]
    #[case("{name: a, labels: [x]}", "metadata.labels: must be of type object")]
    #[case(
        "{name: a, annotations: {m: 1}}",
        "metadata.annotations.m: must be of type string: put it in quotes"
    )]
    #[case(
        "{name: a, annotations: {\"a b\": x}}",
        "metadata.annotations.a b: is no key of an annotation"
    )]
    #[case(
        "{name: a, label: {}}",
        "metadata.label: unknown field; known here: annotations, creationTimestamp"
    )]
    #[case("[]", "metadata: must be of type object")]
    fn what_the_api_server_refuses(#[case] metadata: &str, #[case] what: &str) {
        let flaws = flaws(metadata);
        assert_eq!(flaws.len(), 1, "{flaws:?}");
        assert!(flaws[0].starts_with(what), "{flaws:?}");
    }
}
