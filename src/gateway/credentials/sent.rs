//! A credential as it is added to one request. Pure.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use zeroize::Zeroizing;

use super::fault::Fault;
use super::has;
use super::value::Value;
use cofferdam_policy::dimension::credentials::{Credential, Injection};

/// A header with a credential.
pub struct Sent {
    name: String,
    header: HeaderName,
    line: HeaderValue,
    value: Arc<Value>,
}

impl Sent {
    /// The header that carries `value` as `credential` says.
    ///
    /// # Errors
    /// The definition names no header.
    pub fn new(credential: &Credential, value: Arc<Value>) -> Result<Self, Fault> {
        let (header, line) = match &credential.inject {
            Injection::Header { header, scheme } => {
                let mut line = Zeroizing::new(Vec::with_capacity(value.as_bytes().len() + 40));
                if let Some(scheme) = scheme {
                    line.extend_from_slice(scheme.as_bytes());
                    line.push(b' ');
                }
                line.extend_from_slice(value.as_bytes());
                (header.as_str(), line)
            }
            Injection::Basic { username } => {
                let mut pair = Zeroizing::new(Vec::with_capacity(value.as_bytes().len() + 140));
                pair.extend_from_slice(username.as_bytes());
                pair.push(b':');
                pair.extend_from_slice(value.as_bytes());
                let line = Zeroizing::new(format!("Basic {}", STANDARD.encode(&*pair)).into_bytes());
                ("authorization", line)
            }
        };
        let header = header
            .parse()
            .map_err(|_| Fault::Malformed("its header is none"))?;
        let mut line =
            HeaderValue::from_bytes(&line).map_err(|_| Fault::Malformed("its header's value is none"))?;
        // Neither shown by the HTTP library nor kept in its tables.
        line.set_sensitive(true);
        Ok(Self {
            name: credential.name.clone(),
            header,
            line,
            value,
        })
    }

    /// Name of the credential.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The header that carries it.
    pub const fn header(&self) -> &HeaderName {
        &self.header
    }

    /// Adds the header, in the place of one of that name.
    pub fn add_to(&self, headers: &mut HeaderMap) {
        headers.insert(self.header.clone(), self.line.clone());
    }

    /// Where in the head of an answer the credential comes back: the name of a header, or that of the status line.
    pub fn echoed_in(&self, headers: &HeaderMap, reason: Option<&[u8]>) -> Option<String> {
        if reason.is_some_and(|reason| self.is_in(reason)) {
            return Some("status".to_owned());
        }
        let found = headers.iter().find(|(_, value)| self.is_in(value.as_bytes()));
        found.map(|(name, _)| name.to_string())
    }

    fn is_in(&self, text: &[u8]) -> bool {
        // Of a line such as `Basic …` the word after the scheme tells as much.
        let line = self.line.as_bytes();
        let word = line.rsplit(|byte| *byte == b' ').next().unwrap_or(line);
        has(text, self.value.as_bytes()) || has(text, word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::store::testing::credential;
    use rstest::rstest;

    fn sent(inject: Injection) -> Sent {
        let value = Arc::new(Value::read(b"s3cr3t-value".to_vec()).ok().unwrap());
        let credential = Credential {
            inject,
            ..credential("model", "a.example.com")
        };
        Sent::new(&credential, value).ok().unwrap()
    }

    fn header(name: &str, scheme: Option<&str>) -> Injection {
        Injection::Header {
            header: name.to_owned(),
            scheme: scheme.map(str::to_owned),
        }
    }

    fn basic() -> Injection {
        Injection::Basic {
            username: "x-access-token".to_owned(),
        }
    }

    #[rstest]
    #[case(header("x-api-key", None), "x-api-key", "s3cr3t-value")]
    #[case(
        header("authorization", Some("Bearer")),
        "authorization",
        "Bearer s3cr3t-value"
    )]
    #[case(basic(), "authorization", "Basic eC1hY2Nlc3MtdG9rZW46czNjcjN0LXZhbHVl")]
    fn the_header_takes_the_place_of_the_agents(
        #[case] inject: Injection,
        #[case] name: &str,
        #[case] line: &str,
    ) {
        let mut headers = HeaderMap::new();
        for own in ["one", "two"] {
            headers.append(name.parse::<HeaderName>().unwrap(), own.parse().unwrap());
        }
        sent(inject).add_to(&mut headers);
        let all: Vec<&HeaderValue> = headers.get_all(name).iter().collect();
        assert_eq!(all, [line]);
        assert!(all[0].is_sensitive());
        assert!(!format!("{headers:?}").contains("s3cr3t"), "{headers:?}");
    }

    #[rstest]
    #[case(header("x-api-key", None), "x-debug", "got s3cr3t-value!", true)]
    #[case(
        header("authorization", Some("Bearer")),
        "location",
        "https://x/?t=s3cr3t-value",
        true
    )]
    #[case(basic(), "x-echo", "Basic eC1hY2Nlc3MtdG9rZW46czNjcjN0LXZhbHVl", true)]
    #[case(basic(), "x-echo", "s3cr3t-value", true)]
    #[case(basic(), "www-authenticate", "Basic realm=\"x-access-token\"", false)]
    #[case(header("authorization", Some("Bearer")), "www-authenticate", "Bearer", false)]
    fn an_answer_that_holds_the_credential_is_found(
        #[case] inject: Injection,
        #[case] name: &str,
        #[case] value: &str,
        #[case] expected: bool,
    ) {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", "text/plain".parse().unwrap());
        headers.insert(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        let sent = sent(inject);
        let found = sent.echoed_in(&headers, Some(b"Fine"));
        assert_eq!(found.as_deref(), expected.then_some(name));
        assert_eq!(
            sent.echoed_in(&HeaderMap::new(), Some(b"s3cr3t-value"))
                .as_deref(),
            Some("status")
        );
    }
}
