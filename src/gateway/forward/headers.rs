//! Which headers of a forwarded request or answer go further.

use http::header::CONNECTION;
use http::{HeaderMap, HeaderName};

/// Headers that speak to a proxy or about the connection (RFC 9110, section 7.6.1), or that ask a server to see
/// another request than the one that was checked.
const STRIPPED: [&str; 22] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "proxy-authenticate",
    "proxy-authentication-info",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "expect",
    "http2-settings",
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
];

/// The headers without those of the connection: [`STRIPPED`] and whatever `Connection` names, in any spelling that
/// [`without`] knows.
pub fn end_to_end(headers: HeaderMap) -> HeaderMap {
    let named: Vec<String> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| hyphened(&name.trim().to_ascii_lowercase()))
        .collect();
    without(headers, |name| {
        STRIPPED.contains(&name) || named.iter().any(|named| named == name)
    })
}

/// Headers that carry a caller's own credentials, those of forges, registries, clouds and model APIs among them.
const CREDENTIALS: [&str; 14] = [
    "authorization",
    "cookie",
    "api-key",
    "x-api-key",
    "x-goog-api-key",
    "x-auth-token",
    "x-access-token",
    "x-amz-security-token",
    "x-vault-token",
    "private-token",
    "job-token",
    "deploy-token",
    "x-gitlab-token",
    "x-github-token",
];

/// The headers without [`CREDENTIALS`]: on a host that many share, an account of the attacker's own is a way out, whatever
/// paths are allowed.
pub fn without_credentials(headers: HeaderMap) -> HeaderMap {
    without(headers, |name| CREDENTIALS.contains(&name))
}

/// The headers without those whose name, in the spelling with hyphens, is `meant`: servers that hand headers on as variables
/// take `X_Api_Key` for `X-Api-Key`.
pub fn without(mut headers: HeaderMap, meant: impl Fn(&str) -> bool) -> HeaderMap {
    let named: Vec<HeaderName> = headers
        .keys()
        .filter(|name| meant(&hyphened(name.as_str())))
        .cloned()
        .collect();
    for name in named {
        headers.remove(name);
    }
    headers
}

fn hyphened(name: &str) -> String {
    name.replace('_', "-")
}

/// Headers by which a client chooses whose account at a provider pays or sees what it asks.
const ACCOUNTS: [&str; 4] = [
    "openai-organization",
    "openai-project",
    "x-goog-user-project",
    "x-goog-request-params",
];
/// Of Anthropic's headers those that choose no account.
const ANTHROPIC: [&str; 3] = [
    "anthropic-version",
    "anthropic-beta",
    "anthropic-dangerous-direct-browser-access",
];

/// The headers without those that choose an account: with the gateway's credential that is not for the agent to say.
pub fn without_accounts(headers: HeaderMap) -> HeaderMap {
    without(headers, |name| {
        ACCOUNTS.contains(&name) || name.starts_with("anthropic-") && !ANTHROPIC.contains(&name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_speaks_to_the_proxy_goes_no_further() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Private"),
            ("x-private", "1"),
            ("x_private", "1"),
            ("x_forwarded_for", "10.0.0.1"),
            ("x_original_url", "/admin"),
            ("X_HTTP_Method_Override", "DELETE"),
            ("proxy-authorization", "Bearer t"),
            ("x-http-method-override", "DELETE"),
            ("x-original-url", "/admin"),
            ("forwarded", "for=1"),
            ("te", "trailers"),
            ("accept", "*/*"),
            ("authorization", "Bearer users-own"),
        ] {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        let mut left: Vec<String> = end_to_end(headers).keys().map(ToString::to_string).collect();
        left.sort();
        assert_eq!(left, ["accept", "authorization"]);
    }

    #[test]
    fn what_chooses_an_account_is_taken_out_and_a_version_is_not() {
        let mut headers = HeaderMap::new();
        for name in [
            "OpenAI-Organization",
            "anthropic-workspace-id",
            "anthropic-version",
            "Anthropic-Beta",
            "x-goog-user-project",
            "accept",
        ] {
            headers.append(name.parse::<HeaderName>().unwrap(), "x".parse().unwrap());
        }
        let mut left: Vec<String> = without_accounts(headers)
            .keys()
            .map(ToString::to_string)
            .collect();
        left.sort();
        assert_eq!(left, ["accept", "anthropic-beta", "anthropic-version"]);
    }

    #[test]
    fn credentials_are_taken_out_whatever_their_spelling() {
        let mut headers = HeaderMap::new();
        for name in [
            "Authorization",
            "COOKIE",
            "X-Api-Key",
            "x_api_key",
            "Private-Token",
            "Accept",
            "Content-Type",
        ] {
            headers.append(name.parse::<HeaderName>().unwrap(), "x".parse().unwrap());
            headers.append(name.parse::<HeaderName>().unwrap(), "y".parse().unwrap());
        }
        let mut left: Vec<String> = without_credentials(headers)
            .keys()
            .map(ToString::to_string)
            .collect();
        left.sort();
        assert_eq!(left, ["accept", "content-type"]);
    }
}
