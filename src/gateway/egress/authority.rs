//! `host:port` as a request names it.

use crate::denial::Denial;
use cofferdam_policy::pattern::host::Host;
use cofferdam_wire::denial::DenialCode;

/// Splits and parses `host:port`; `default_port` stands in where a request may leave it out.
pub fn parse(text: &str, default_port: Option<u16>) -> Result<(Host, u16), Denial> {
    let invalid = |what: String| Denial::new(DenialCode::HostInvalid, what);
    let (host, port) = if let Some((host, digits)) = text.rsplit_once(':') {
        let port = number(digits).ok_or("the port is not a number from 1 to 65535");
        (host, port)
    } else {
        (text, default_port.ok_or("the port is missing"))
    };
    let port = port.map_err(|error| invalid(error.to_owned()))?;
    let host = Host::parse(host).map_err(|error| invalid(error.to_string()))?;
    Ok((host, port))
}

/// A port in plain digits: no sign, no leading zeros beyond five digits, not 0.
fn number(digits: &str) -> Option<u16> {
    let plain = digits.len() <= 5 && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|port| plain && *port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("allowed.internet.test:443", None, Some(443))]
    #[case("Allowed.Internet.TEST:8443", None, Some(8443))]
    #[case("allowed.internet.test", Some(80), Some(80))]
    #[case("allowed.internet.test", None, None)]
    #[case("allowed.internet.test:", Some(80), None)]
    #[case("allowed.internet.test:0", None, None)]
    #[case("allowed.internet.test:65536", None, None)]
    #[case("allowed.internet.test:+443", None, None)]
    #[case("allowed.internet.test:0000443", None, None)]
    #[case("allowed.internet.test:443:443", None, None)]
    #[case("user@allowed.internet.test:443", None, None)]
    #[case("203.0.113.30:443", None, None)]
    #[case("0x7f.1:443", None, None)]
    #[case("2130706433:443", None, None)]
    #[case("[::1]:443", None, None)]
    #[case("[::ffff:127.0.0.1]:443", None, None)]
    #[case("allowed.internet.test.:443", None, None)]
    #[case("allowed%2einternet.test:443", None, None)]
    #[case("\u{ff41}llowed.internet.test:443", None, None)]
    #[case(":443", None, None)]
    #[case("", None, None)]
    fn authorities(#[case] text: &str, #[case] default_port: Option<u16>, #[case] port: Option<u16>) {
        let parsed = parse(text, default_port);
        assert_eq!(parsed.as_ref().ok().map(|(_, port)| *port), port, "{parsed:?}");
        if let Ok((host, _)) = parsed {
            assert_eq!(host.as_str(), "allowed.internet.test");
        }
    }
}
