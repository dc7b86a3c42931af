//! Plain scalars as kubectl reads them: by the YAML 1.1 of Go's library, which is not the YAML 1.2 of most others, and then
//! as a number of JSON. Pure.

use serde_json::{Number, Value};

/// Go writes a number as an integer of JSON if it has no fraction and is smaller than this.
const LEAST_EXPONENT: f64 = 1e21;
/// The least whole number above all that 64 bits with a sign hold.
const BEYOND_I64: f64 = 9_223_372_036_854_775_808.0;

/// JSON has no word for it, so kubectl gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("infinity and not-a-number cannot be sent to an API server: put it in quotes if it is a text")]
pub struct NotFinite;

/// What a scalar without quotes and tag is.
///
/// # Errors
/// [`NotFinite`].
pub fn resolve(text: &str) -> Result<Value, NotFinite> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Value::Null),
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Ok(Value::Bool(true));
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Ok(Value::Bool(false));
        }
        ".nan" | ".NaN" | ".NAN" | ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" | "-.inf"
        | "-.Inf" | "-.INF" => return Err(NotFinite),
        _ => {}
    }
    let number = match text.as_bytes().first() {
        Some(b'.') => float(text),
        Some(b'+' | b'-' | b'0'..=b'9') => {
            let plain = text.replace('_', "");
            integer(&plain).or_else(|| float(&plain))
        }
        _ => None,
    };
    Ok(number.map_or_else(|| text.into(), Value::Number))
}

/// `strconv.ParseInt` and `ParseUint` with base 0: a prefix says the base, and a leading zero alone is octal.
fn integer(text: &str) -> Option<Number> {
    let (sign, unsigned) = match text.as_bytes().first()? {
        b'-' => ("-", text.get(1..)?),
        b'+' => ("+", text.get(1..)?),
        _ => ("", text),
    };
    let (radix, digits) = match unsigned.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, unsigned.get(2..)?),
        [b'0', b'b' | b'B', ..] => (2, unsigned.get(2..)?),
        [b'0', b'o' | b'O', ..] => (8, unsigned.get(2..)?),
        [b'0', _, ..] => (8, unsigned.get(1..)?),
        _ => (10, unsigned),
    };
    // Rust takes a sign of its own here.
    if !digits.starts_with(|first: char| first.is_ascii_hexdigit()) {
        return None;
    }
    let signed = i64::from_str_radix(&format!("{sign}{digits}"), radix)
        .ok()
        .map(Number::from);
    let only_digits = sign.is_empty();
    signed.or_else(|| {
        let whole = only_digits.then(|| u64::from_str_radix(digits, radix).ok());
        whole.flatten().map(Number::from)
    })
}

/// A number with a point or an exponent; one without fraction is written to the API server as an integer. What is too
/// large for Go to hold stays a text.
fn float(text: &str) -> Option<Number> {
    if !is_float(text) {
        return None;
    }
    let value: f64 = text.parse().ok().filter(|value: &f64| value.is_finite())?;
    let is_whole = value.fract() == 0.0 && value.abs() < LEAST_EXPONENT;
    if is_whole && (-BEYOND_I64..BEYOND_I64).contains(&value) {
        // The digits before the point are the number.
        return format!("{value:.0}").parse::<i64>().ok().map(Number::from);
    }
    Number::from_f64(value)
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_float(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (
            mantissa,
            Some(exponent.strip_prefix(['-', '+']).unwrap_or(exponent)),
        ),
        None => (unsigned, None),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let has_digits = !whole.is_empty() || !fraction.is_empty();
    has_digits
        && digits(whole)
        && digits(fraction)
        && exponent.is_none_or(|exponent| !exponent.is_empty() && digits(exponent))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case("1800", json!(1800))]
    #[case("1.8e3", json!(1800))]
    #[case("1e3", json!(1000))]
    #[case("1E3", json!(1000))]
    #[case("1.0", json!(1))]
    #[case("5.", json!(5))]
    #[case("1.5", json!(1.5))]
    #[case("1e-1", json!(0.1))]
    #[case(".5", json!(0.5))]
    #[case("-0", json!(0))]
    #[case("-0.0", json!(0))]
    #[case("+5", json!(5))]
    #[case("0x10", json!(16))]
    #[case("-0x10", json!(-16))]
    #[case("0b11", json!(3))]
    #[case("0o17", json!(15))]
    #[case("017", json!(15))]
    #[case("00", json!(0))]
    #[case("08", json!(8))]
    #[case("1_000", json!(1000))]
    #[case("9223372036854775807", json!(9_223_372_036_854_775_807_i64))]
    #[case("18446744073709551615", json!(u64::MAX))]
    #[case("18446744073709551616", json!(1.844_674_407_370_955_2e19))]
    #[case("1e20", json!(1e20))]
    #[case("1e21", json!(1e21))]
    fn numbers(#[case] text: &str, #[case] value: Value) {
        assert_eq!(resolve(text).unwrap(), value);
    }

    #[rstest]
    #[case("1e400")]
    #[case("12:30")]
    #[case("2024-01-01")]
    #[case("0x")]
    #[case("0xg")]
    #[case("1e")]
    #[case(".")]
    #[case("-")]
    #[case("+-5")]
    #[case("0x-5")]
    #[case("._5")]
    #[case("1.2.3")]
    #[case("5m")]
    #[case("nul")]
    #[case("oN")]
    fn texts(#[case] text: &str) {
        assert_eq!(resolve(text).unwrap(), json!(text));
    }

    #[rstest]
    #[case("yes", json!(true))]
    #[case("On", json!(true))]
    #[case("y", json!(true))]
    #[case("N", json!(false))]
    #[case("OFF", json!(false))]
    #[case("~", Value::Null)]
    #[case("", Value::Null)]
    fn words(#[case] text: &str, #[case] value: Value) {
        assert_eq!(resolve(text).unwrap(), value);
    }

    #[rstest]
    #[case(".inf")]
    #[case("-.Inf")]
    #[case(".NaN")]
    fn what_is_not_finite_cannot_be_sent(#[case] text: &str) {
        assert_eq!(resolve(text), Err(NotFinite));
    }
}
