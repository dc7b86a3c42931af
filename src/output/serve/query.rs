//! The query of a request. Pure: what is not known is refused, so that a misspelt name never means the default.

use crate::path::Part;
use crate::status::Failure;

/// What a request says beside its path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Which run of this name.
    pub uid: Option<String>,
    /// Which repository's patch.
    pub repository: Option<String>,
    /// The byte to begin with.
    pub from: u64,
    /// Whether to go on with what comes.
    pub follow: bool,
}

impl Query {
    /// Reads the query of a request for `part`.
    ///
    /// # Errors
    /// It has something that this part does not know.
    pub fn read(text: &str, part: Part) -> Result<Self, Failure> {
        let mut query = Self::default();
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            let wrong = || Failure::bad_request(format!("{name}={value:?} is not what {name} can be"));
            match (name.as_ref(), part) {
                ("uid", _) => {
                    let plain = value.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
                    if !plain || !(1..=64).contains(&value.len()) {
                        return Err(wrong());
                    }
                    query.uid = Some(value.into_owned());
                }
                ("repository", Part::Patch) => query.repository = Some(value.into_owned()),
                ("from", Part::Patch | Part::Records) => query.from = value.parse().map_err(|_| wrong())?,
                ("follow", Part::Records) => query.follow = value.parse().map_err(|_| wrong())?,
                // kubectl adds it to whatever it asks for.
                ("timeout" | "pretty", _) => {}
                _ => {
                    let part = part.name();
                    return Err(Failure::bad_request(format!("{part} has no parameter {name:?}")));
                }
            }
        }
        Ok(query)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("", Part::Patch, Query::default())]
    #[case("uid=0b7c-1&repository=a%2Bb&from=7", Part::Patch,
        Query { uid: Some("0b7c-1".into()), repository: Some("a+b".into()), from: 7, follow: false })]
    #[case("follow=true&from=0", Part::Records, Query { follow: true, ..Query::default() })]
    #[case("timeout=32s", Part::Summary, Query::default())]
    fn what_a_part_knows(#[case] text: &str, #[case] part: Part, #[case] query: Query) {
        assert_eq!(Query::read(text, part), Ok(query));
    }

    #[rstest]
    #[case("uid=", Part::Patch)]
    #[case("uid=../x", Part::Patch)]
    #[case("from=-1", Part::Patch)]
    #[case("from=18446744073709551616", Part::Patch)]
    #[case("follow=yes", Part::Records)]
    #[case("follow=true", Part::Patch)]
    #[case("repo=a", Part::Patch)]
    #[case("repository=a", Part::Records)]
    fn what_it_does_not(#[case] text: &str, #[case] part: Part) {
        assert!(Query::read(text, part).is_err(), "{text}");
    }
}
