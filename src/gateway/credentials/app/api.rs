//! What a GitHub App asks of GitHub's API: where it is installed, a token, and the end of one.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use zeroize::Zeroizing;

use super::fault::AppFault;
use super::jwt::AppKey;
use crate::credentials::value::Value;
use crate::denial::Denial;
use crate::egress::Upstreams;
use crate::egress::dial::dial;
use cofferdam_policy::dimension::credentials::App;

/// Longest time for one call, from the name to the last byte.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Longest answer in bytes.
const ANSWER_LIMIT: usize = 1024 * 1024;
/// Longest text of GitHub's own in a message, in bytes.
const SAID: usize = 200;
/// Shortest and longest time for which nothing more is asked, where GitHub says that it was too much.
const HOLD: (u64, u64) = (5, 3600);

/// A token that GitHub gave.
pub struct Issued {
    /// The token.
    pub value: Value,
    /// When it ends by itself.
    pub expires: Timestamp,
}

#[derive(Deserialize)]
struct Installation {
    id: i64,
    #[serde(default)]
    suspended_at: Option<String>,
}

#[derive(Deserialize)]
struct Token {
    #[serde(rename = "token")]
    text: String,
    expires_at: String,
    #[serde(default)]
    permissions: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    repositories: Option<Vec<Repository>>,
}

#[derive(Deserialize)]
struct Repository {
    full_name: String,
}

/// The App's side of the API.
pub struct Api<'a> {
    /// Opens connections.
    pub upstreams: &'a Upstreams,
    /// Name of the credential.
    pub name: &'a str,
    /// The App.
    pub app: &'a App,
}

impl Api<'_> {
    /// A token for these repositories, all of one owner, with the definition's permissions.
    ///
    /// # Errors
    /// [`AppFault`].
    pub async fn issue(&self, key: &AppKey, scope: &[String], now: Timestamp) -> Result<Issued, AppFault> {
        let jwt = key.jwt(self.app.id, now.as_second())?;
        let installation = match self.app.installation {
            Some(id) => id,
            None => self.installation(&jwt, scope).await?,
        };
        let names: Vec<&str> = scope
            .iter()
            .map(|repository| repository.rsplit('/').next().unwrap_or_default())
            .collect();
        let body = json!({"repositories": names, "permissions": self.app.permissions_asked()});
        let path = format!("/app/installations/{installation}/access_tokens");
        let answer = self.call(Method::POST, &path, &jwt, Some(&body)).await?;
        if answer.status() != StatusCode::CREATED {
            return Err(self.refused(&answer, scope));
        }
        let mut token: Token = read(answer.body())?;
        let text = std::mem::take(&mut token.text);
        let value = Value::read(text.into_bytes())
            .map_err(|_| AppFault::Odd("its token is no word that a header takes"))?;
        let end = token.expires_at.parse();
        let end = end.map_err(|_| AppFault::Odd("its token has no end"));
        match self.is_as_asked(&token, scope).and(end) {
            Ok(expires) => Ok(Issued { value, expires }),
            Err(odd) => {
                // What may do more than was asked for, or for ever, is not even kept.
                let _ = self.revoke(&value).await;
                Err(odd)
            }
        }
    }

    /// Where the App is installed for the owner of these repositories.
    async fn installation(&self, jwt: &str, scope: &[String]) -> Result<i64, AppFault> {
        let first = scope.first().ok_or(AppFault::Odd("no repository"))?;
        let path = format!("/repos/{first}/installation");
        let answer = self.call(Method::GET, &path, jwt, None).await?;
        if answer.status() != StatusCode::OK {
            return Err(self.refused(&answer, std::slice::from_ref(first)));
        }
        let Installation { id, suspended_at } = read(answer.body())?;
        match suspended_at {
            None => Ok(id),
            Some(_) => Err(AppFault::Suspended),
        }
    }

    /// Whether a token is for no more than was asked for.
    fn is_as_asked(&self, token: &Token, scope: &[String]) -> Result<(), AppFault> {
        let asked = self.app.permissions_asked();
        let is_granted = |(name, access): (&String, &String)| {
            // Reading metadata comes with every token.
            (name == "metadata" && access == "read")
                || asked
                    .get(name.as_str())
                    .is_some_and(|asked| *asked == access.as_str() || access == "read")
        };
        if !token.permissions.iter().all(is_granted) {
            return Err(AppFault::Odd("its token has permissions that were not asked for"));
        }
        let is_own = |repository: &Repository| {
            scope
                .iter()
                .any(|own| own.eq_ignore_ascii_case(&repository.full_name))
        };
        match &token.repositories {
            Some(repositories) if !repositories.is_empty() && repositories.iter().all(is_own) => Ok(()),
            _ => Err(AppFault::Odd(
                "its token is not for the repositories that were asked for",
            )),
        }
    }

    /// Ends a token.
    ///
    /// # Errors
    /// It is not known whether it has ended.
    pub async fn revoke(&self, token: &Value) -> Result<(), AppFault> {
        let text = std::str::from_utf8(token.as_bytes()).map_err(|_| AppFault::Odd("no text"))?;
        let answer = self
            .call(Method::DELETE, "/installation/token", text, None)
            .await?;
        match answer.status() {
            // It was none any more.
            StatusCode::NO_CONTENT | StatusCode::UNAUTHORIZED => Ok(()),
            _ => Err(self.refused(&answer, &[])),
        }
    }

    /// What a refusal means; `scope`: the repositories that were asked about, none where a token is revoked.
    fn refused(&self, answer: &Response<Bytes>, scope: &[String]) -> AppFault {
        let status = answer.status();
        if let Some(seconds) = held_off(status, answer.headers(), Timestamp::now()) {
            return AppFault::RateLimited(seconds);
        }
        let body: Json = serde_json::from_slice(answer.body()).unwrap_or_default();
        let said = body.get("message").and_then(Json::as_str).unwrap_or_default();
        let has = |words: &str| said.to_ascii_lowercase().contains(words);
        match status {
            StatusCode::UNAUTHORIZED => AppFault::Rejected,
            StatusCode::FORBIDDEN if has("suspended") => AppFault::Suspended,
            StatusCode::NOT_FOUND if !scope.is_empty() => AppFault::NotInstalled(scope.join(", ")),
            StatusCode::UNPROCESSABLE_ENTITY if has("permission") => {
                let asked = self.app.permissions_asked();
                let asked: Vec<String> = asked
                    .iter()
                    .map(|(name, access)| format!("{name}: {access}"))
                    .collect();
                AppFault::PermissionMissing(asked.join(", "))
            }
            StatusCode::UNPROCESSABLE_ENTITY if has("repositor") => AppFault::Outside(scope.join(", ")),
            _ => AppFault::Refused(status.as_u16(), cofferdam_text::bounded(said, SAID)),
        }
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        token: &str,
        body: Option<&Json>,
    ) -> Result<Response<Bytes>, AppFault> {
        let request = self.request(method, path, token, body)?;
        tokio::time::timeout(TIMEOUT, self.exchange(request))
            .await
            .unwrap_or_else(|_| Err(AppFault::Unreachable("no answer in 15 s".to_owned())))
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        token: &str,
        body: Option<&Json>,
    ) -> Result<Request<Full<Bytes>>, AppFault> {
        let odd = |_| AppFault::Odd("a request to it is none");
        let line = Zeroizing::new(format!("Bearer {token}"));
        let mut line = HeaderValue::from_str(&line).map_err(|_| AppFault::Odd("a token of it is none"))?;
        line.set_sensitive(true);
        let host = match self.app.port {
            443 => self.app.api_host.to_string(),
            port => format!("{}:{port}", self.app.api_host),
        };
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.app.api_path))
            .header(HOST, host)
            .header(AUTHORIZATION, line)
            .header(ACCEPT, "application/vnd.github+json")
            .header(USER_AGENT, "cofferdam")
            .header(HeaderName::from_static("x-github-api-version"), "2022-11-28");
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let bytes = body.map(ToString::to_string).unwrap_or_default();
        request.body(Full::from(bytes)).map_err(odd)
    }

    /// Over a connection of its own, to an address that is allowed as those of every other host are.
    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, AppFault> {
        let failed = |denial: Denial| AppFault::Unreachable(denial.message.into_owned());
        let broken = |error: hyper::Error| AppFault::Unreachable(error.to_string());
        let route = self.app.api_route(self.name);
        let denied = self.upstreams.ranges.deny_set().ok_or_else(|| {
            AppFault::Unreachable("the cluster's own addresses are not known yet".to_owned())
        })?;
        let (stream, _) = dial(self.upstreams.dialer.as_ref(), &denied, &route)
            .await
            .map_err(failed)?;
        let stream = self
            .upstreams
            .tls
            .connect(&self.app.api_host, stream)
            .await
            .map_err(failed)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let answering = async {
            let answer = sender.send_request(request).await.map_err(broken)?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, ANSWER_LIMIT)
                .collect()
                .await
                .map_err(|error| AppFault::Unreachable(error.to_string()))?;
            Ok(Response::from_parts(head, body.to_bytes()))
        };
        tokio::pin!(answering);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            biased;
            answered = &mut answering => answered,
            ended = &mut connection => {
                // What was read of an answer may be whole.
                ended.map_err(broken)?;
                answering.await
            }
        }
    }
}

fn read<'a, T: Deserialize<'a>>(body: &'a Bytes) -> Result<T, AppFault> {
    serde_json::from_slice(body).map_err(|_| AppFault::Odd("it is not what its description says"))
}

/// For how many seconds nothing more is to be asked; `None`: the answer does not speak of that.
fn held_off(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Option<u64> {
    if status != StatusCode::FORBIDDEN && status != StatusCode::TOO_MANY_REQUESTS {
        return None;
    }
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<i64>().ok();
    let after = number("retry-after");
    let reset = (number("x-ratelimit-remaining") == Some(0))
        .then(|| number("x-ratelimit-reset"))
        .flatten()
        .map(|at| at - now.as_second());
    let too_many = (status == StatusCode::TOO_MANY_REQUESTS).then_some(60);
    let seconds = after.or(reset).or(too_many)?;
    Some(u64::try_from(seconds).unwrap_or(0).clamp(HOLD.0, HOLD.1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(403, &[("retry-after", "30")], Some(30))]
    #[case(429, &[("retry-after", "999999")], Some(3600))]
    #[case(429, &[], Some(60))]
    #[case(403, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1800000100")], Some(100))]
    #[case(403, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1700000000")], Some(5))]
    #[case(403, &[("x-ratelimit-remaining", "5"), ("x-ratelimit-reset", "1800000100")], None)]
    #[case(403, &[], None)]
    #[case(404, &[("retry-after", "30")], None)]
    fn a_limit_is_waited_for(
        #[case] status: u16,
        #[case] lines: &[(&'static str, &'static str)],
        #[case] expected: Option<u64>,
    ) {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.insert(*name, HeaderValue::from_static(value));
        }
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        assert_eq!(
            held_off(StatusCode::from_u16(status).unwrap(), &headers, now),
            expected
        );
    }
}
