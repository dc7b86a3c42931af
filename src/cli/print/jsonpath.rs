//! `-o jsonpath=…`: the part of kubectl's templates that names fields: `{.metadata.name}{"\n"}`, `{range …}{end}`.

use std::str::FromStr;

use cofferdam_text::escape;
use jsonpath_rust::JsonPath as _;
use serde_json::Value;

/// A template that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Path(String),
    Range(String, Vec<Part>),
}

impl FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut tokens = tokens(text)?.into_iter();
        let parts = parts(&mut tokens, false)?;
        Ok(Self(parts))
    }
}

enum Token {
    Text(String),
    Expression(String),
}

/// Splits at braces; those within quotes of an expression do not count.
fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let (mut current, mut inside, mut quote) = (String::new(), false, None);
    for character in text.chars() {
        match (inside, character) {
            (false, '{') => {
                tokens.push(Token::Text(std::mem::take(&mut current)));
                inside = true;
            }
            (true, '}') if quote.is_none() => {
                tokens.push(Token::Expression(std::mem::take(&mut current)));
                inside = false;
            }
            (true, '"' | '\'') => {
                quote = match quote {
                    None => Some(character),
                    Some(open) if open == character => None,
                    open => open,
                };
                current.push(character);
            }
            (_, character) => current.push(character),
        }
    }
    if inside {
        return Err("the template has a { without its }".to_owned());
    }
    tokens.push(Token::Text(current));
    Ok(tokens)
}

fn parts(tokens: &mut impl Iterator<Item = Token>, in_range: bool) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    while let Some(token) = tokens.next() {
        match token {
            Token::Text(text) if text.is_empty() => {}
            Token::Text(text) => parts.push(Part::Text(text)),
            Token::Expression(expression) => {
                let expression = expression.trim();
                if expression == "end" {
                    return if in_range {
                        Ok(parts)
                    } else {
                        Err("{end} without {range}".to_owned())
                    };
                } else if let Some(over) = expression.strip_prefix("range ") {
                    parts.push(Part::Range(path(over)?, self::parts(tokens, true)?));
                } else if expression.starts_with('"') {
                    let text = serde_json::from_str(expression)
                        .map_err(|error| format!("{{{expression}}} is no string: {error}"))?;
                    parts.push(Part::Text(text));
                } else {
                    parts.push(Part::Path(path(expression)?));
                }
            }
        }
    }
    if in_range {
        return Err("{range} without {end}".to_owned());
    }
    Ok(parts)
}

/// kubectl's spelling of a path, which needs no `$`.
fn path(expression: &str) -> Result<String, String> {
    let expression = expression.trim();
    let path = if expression == "." || expression == "@" {
        "$".to_owned()
    } else if let Some(rest) = expression.strip_prefix('@') {
        format!("${rest}")
    } else if expression.starts_with('$') {
        expression.to_owned()
    } else if expression.starts_with('.') || expression.starts_with('[') {
        format!("${expression}")
    } else {
        format!("$.{expression}")
    };
    jsonpath_rust::parser::parse_json_path(&path)
        .map(|_| path)
        .map_err(|_| format!("{{{expression}}} is no path such as {{.status.phase}}"))
}

impl Template {
    /// What the template makes of a document.
    ///
    /// # Errors
    /// A path cannot be followed.
    pub fn render(&self, value: &Value, for_terminal: bool) -> Result<String, String> {
        let mut out = String::new();
        write(&self.0, value, for_terminal, &mut out)?;
        Ok(out)
    }
}

fn write(parts: &[Part], value: &Value, for_terminal: bool, out: &mut String) -> Result<(), String> {
    for part in parts {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Path(path) => {
                let found: Vec<String> = follow(value, path)?
                    .into_iter()
                    .map(|found| shown(found, for_terminal))
                    .collect();
                out.push_str(&found.join(" "));
            }
            Part::Range(path, inner) => {
                for found in follow(value, path)? {
                    // kubectl goes through a list's items, whether or not the path ends with [*].
                    match found {
                        Value::Array(items) => {
                            for item in items {
                                write(inner, item, for_terminal, out)?;
                            }
                        }
                        one => write(inner, one, for_terminal, out)?,
                    }
                }
            }
        }
    }
    Ok(())
}

fn follow<'a>(value: &'a Value, path: &str) -> Result<Vec<&'a Value>, String> {
    value
        .query(path)
        .map_err(|error| format!("{path} cannot be followed: {error}"))
}

fn shown(value: &Value, for_terminal: bool) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    if for_terminal { escape(&text) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case("{.status.phase}", "Running")]
    #[case("{.status.phase}{\"\\n\"}", "Running\n")]
    #[case("phase: {status.phase};", "phase: Running;")]
    #[case("{.items[*].name}", "a b")]
    #[case("{range .items[*]}{.name}={.n}{\"\\t\"}{end}", "a=1\tb=2\t")]
    #[case("{range .items}{.name},{end}", "a,b,")]
    #[case("{.items[?(@.name==\"b\")].n}", "2")]
    #[case("{.status.absent}", "")]
    #[case("{.status}", r#"{"phase":"Running"}"#)]
    fn templates_are_kubectls(#[case] template: &str, #[case] said: &str) {
        let value =
            json!({"status": {"phase": "Running"}, "items": [{"name": "a", "n": 1}, {"name": "b", "n": 2}]});
        let template: Template = template.parse().unwrap();
        assert_eq!(template.render(&value, false).unwrap(), said);
    }

    #[test]
    fn a_terminal_obeys_nothing_of_it_and_a_pipe_gets_all_of_it() {
        let template: Template = "{.m}".parse().unwrap();
        let value = json!({"m": "\u{1b}[2J"});
        assert_eq!(template.render(&value, false).unwrap(), "\u{1b}[2J");
        assert_eq!(template.render(&value, true).unwrap(), "\\u{1b}[2J");
    }

    #[rstest]
    #[case("{.a")]
    #[case("{range .a}{.b}")]
    #[case("{end}")]
    #[case("{\"\\q\"}")]
    #[case("{.a[}")]
    fn what_is_no_template_is_refused(#[case] template: &str) {
        assert!(template.parse::<Template>().is_err());
    }
}
