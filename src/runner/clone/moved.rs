//! Where a redirect leads, by what git shows of a server's answer. Pure.

use std::fmt;

use crate::text::escape;

/// What a repository's redirect leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moved {
    /// To the repository's own address elsewhere.
    To(String),
    /// To something that is no repository, such as a page to log in.
    Elsewhere(String),
    /// The server did not say.
    Unknown,
}

impl Moved {
    /// Reads the trace of a request for `url` that was answered with a redirect.
    pub fn read(trace: &[u8], url: &str) -> Self {
        let text = String::from_utf8_lossy(trace);
        let location = text.lines().filter_map(location).next_back();
        location.map_or(Self::Unknown, |location| Self::of(location, url))
    }

    fn of(location: &str, url: &str) -> Self {
        let absolute = if location.starts_with('/') && !location.starts_with("//") {
            format!("{}{location}", origin(url))
        } else {
            location.to_owned()
        };
        let path = absolute.split(['?', '#']).next().unwrap_or_default();
        match path.strip_suffix("/info/refs") {
            Some(repository) if repository != url => Self::To(escape(repository.as_bytes())),
            _ => Self::Elsewhere(escape(path.as_bytes())),
        }
    }
}

/// The value of a line such as `12:00:00.0 http.c:756 <= Recv header: Location: https://…`.
fn location(line: &str) -> Option<&str> {
    let (_, header) = line.split_once("<= Recv header: ")?;
    let (name, value) = header.split_once(':')?;
    name.eq_ignore_ascii_case("location").then(|| value.trim_ascii())
}

/// Scheme and authority of an absolute URL.
fn origin(url: &str) -> &str {
    let after = url.find("://").map_or(0, |at| at + 3);
    let path = url.get(after..).and_then(|rest| rest.find('/'));
    path.and_then(|at| url.get(..after + at)).unwrap_or(url)
}

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::To(url) => write!(f, "it has moved to {url}: write that url"),
            Self::Elsewhere(url) => write!(
                f,
                "it leads to {url}, which is no repository: one that is private or absent is answered so"
            ),
            Self::Unknown => {
                f.write_str("the server does not say where to: look in a browser, and write the url of today")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const URL: &str = "https://git.example.com/team/app";

    #[rstest]
    #[case(
        "https://git.example.com/team/app.git/info/refs?service=git-upload-pack",
        Moved::To("https://git.example.com/team/app.git".to_owned())
    )]
    #[case(
        "/new/app.git/info/refs?service=git-upload-pack",
        Moved::To("https://git.example.com/new/app.git".to_owned())
    )]
    #[case(
        "https://other.example.com/team/app/info/refs",
        Moved::To("https://other.example.com/team/app".to_owned())
    )]
    #[case(
        "http://git.example.com/team/app/info/refs",
        Moved::To("http://git.example.com/team/app".to_owned())
    )]
    #[case(
        "https://login.example.com/sign_in?back=%2Finfo%2Frefs",
        Moved::Elsewhere("https://login.example.com/sign_in".to_owned())
    )]
    #[case("/users/sign_in", Moved::Elsewhere("https://git.example.com/users/sign_in".to_owned()))]
    #[case("//cdn.example.com/x", Moved::Elsewhere("//cdn.example.com/x".to_owned()))]
    #[case(
        "https://git.example.com/team/app/info/refs?service=git-upload-pack",
        Moved::Elsewhere("https://git.example.com/team/app/info/refs".to_owned())
    )]
    fn where_it_leads_is_read_from_the_answer(#[case] value: &str, #[case] moved: Moved) {
        let trace = format!(
            "10:00:00.1 http.c:743  == Info: Connected\n\
             10:00:00.2 http.c:730  => Send header: GET /team/app/info/refs HTTP/1.1\n\
             10:00:00.3 http.c:730  <= Recv header: HTTP/1.1 301 Moved Permanently\n\
             10:00:00.3 http.c:730  <= Recv header: location: {value}\n\
             fatal: unable to access '{URL}/': The requested URL returned error: 301\n"
        );
        assert_eq!(Moved::read(trace.as_bytes(), URL), moved);
    }

    #[test]
    fn hidden_characters_and_silence() {
        let trace = "x <= Recv header: Location: https://a\u{202e}/info/refs\n";
        assert_eq!(
            Moved::read(trace.as_bytes(), URL),
            Moved::To("https://a\\u{202e}".to_owned())
        );
        for trace in [
            "",
            "x => Send header: Location: https://a/info/refs",
            "x <= Recv header: Location",
        ] {
            assert_eq!(Moved::read(trace.as_bytes(), URL), Moved::Unknown);
        }
    }
}
