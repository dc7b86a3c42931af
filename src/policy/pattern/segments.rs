//! Patterns over `/`-separated paths: whole segments, never string prefixes, so that `team` is not `team-evil`.

use std::fmt;

/// One segment of a pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Segment {
    Literal(String),
    One,
    /// Names that an encoded slash joins into one segment; a star among them is one of the names.
    Joined(Vec<Segment>),
}

/// A slash that is part of a segment, as in the names of npm's scoped packages.
const JOINT: &str = "%2F";

/// A path with `*` for exactly one segment and `**`, at the end only, for one or more.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SegmentPattern {
    fixed: Vec<Segment>,
    any_rest: bool,
}

/// Why a text is not a [`SegmentPattern`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SegmentError {
    /// Two slashes in a row, or one at an end.
    #[error("the path is empty or has an empty segment")]
    Empty,
    /// A star inside a segment, or `**` before the end.
    #[error("'*' stands for one whole segment, '**' for any number of them at the end only")]
    Star,
}

impl SegmentPattern {
    /// Reads `a/b`, `a/*`, `a/**`. The caller checks which characters a literal may have.
    ///
    /// # Errors
    /// [`SegmentError`].
    pub fn parse(text: &str) -> Result<Self, SegmentError> {
        Self::read(text, segment)
    }

    /// The one path `text`, in which a star stands for nothing but itself.
    pub fn of_path(text: &str) -> Self {
        Self {
            fixed: text
                .split('/')
                .map(|name| Segment::Literal(name.to_owned()))
                .collect(),
            any_rest: false,
        }
    }

    fn read(text: &str, segment: fn(&str) -> Result<Segment, SegmentError>) -> Result<Self, SegmentError> {
        let mut segments: Vec<&str> = text.split('/').collect();
        let any_rest = segments.last() == Some(&"**");
        if any_rest {
            segments.pop();
        }
        let fixed = segments.into_iter().map(segment).collect::<Result<_, _>>()?;
        Ok(Self { fixed, any_rest })
    }

    /// [`Self::parse`] for paths in which a slash at the end counts, so that `a/` is another path than `a`, and nothing at
    /// all is the root; and in which an encoded slash joins names into one segment, so that `*%2F*` is two of them.
    ///
    /// # Errors
    /// [`SegmentError`].
    pub fn parse_with_end(text: &str) -> Result<Self, SegmentError> {
        let (whole, is_open) = match text.rsplit_once('/') {
            Some((whole, "")) => (Some(whole), true),
            None if text.is_empty() => (None, true),
            _ => (Some(text), false),
        };
        let mut pattern = match whole {
            Some(whole) => Self::read(whole, joined)?,
            None => Self {
                fixed: Vec::new(),
                any_rest: false,
            },
        };
        if is_open && pattern.any_rest {
            return Err(SegmentError::Star);
        }
        if is_open {
            pattern.fixed.push(Segment::Literal(String::new()));
        }
        Ok(pattern)
    }

    /// The literal segments.
    pub fn literals(&self) -> impl Iterator<Item = &str> {
        self.fixed.iter().filter_map(|segment| match segment {
            Segment::Literal(text) => Some(text.as_str()),
            Segment::One | Segment::Joined(_) => None,
        })
    }

    /// Whether `path` has the segments meant.
    pub fn matches(&self, path: &str) -> bool {
        self.matches_where(path, |_| true)
    }

    /// Whether `path` has the segments meant, and `wild` is true of each part for which a star stands: of one segment, or
    /// of the rest of the path.
    pub fn matches_where(&self, path: &str, wild: impl Fn(&str) -> bool) -> bool {
        // Most patterns differ from a path in their first bytes, and are done with before anything is split.
        let mut rest = Some(path);
        for segment in &self.fixed {
            let Some(text) = rest else {
                return false;
            };
            rest = match segment {
                Segment::One | Segment::Joined(_) => {
                    let (one, after) = text
                        .split_once('/')
                        .map_or((text, None), |(one, after)| (one, Some(after)));
                    if !segment.means(one, &wild) {
                        return false;
                    }
                    after
                }
                Segment::Literal(literal) => match text.strip_prefix(literal.as_str()) {
                    Some("") => None,
                    Some(after) if after.starts_with('/') => after.get(1..),
                    _ => return false,
                },
            };
        }
        match rest {
            Some(rest) => self.any_rest && wild(rest),
            None => !self.any_rest,
        }
    }

    /// The paths that both mean, which are a pattern again: segment by segment the more specific one. `wild` is that of
    /// [`Self::matches_where`]. `None`: no path is meant by both.
    pub fn meet_where(&self, other: &Self, wild: impl Fn(&str) -> bool) -> Option<Self> {
        let (long, short) = if self.fixed.len() >= other.fixed.len() {
            (self, other)
        } else {
            (other, self)
        };
        let is_longer = long.fixed.len() > short.fixed.len();
        if is_longer && !short.any_rest || !is_longer && long.any_rest != short.any_rest {
            return None;
        }
        let mut fixed = Vec::with_capacity(long.fixed.len());
        for (index, one) in long.fixed.iter().enumerate() {
            let met = match (one, short.fixed.get(index)) {
                (one, Some(other)) => one.meet(other, &wild),
                // The rest of the shorter one stands for it.
                (Segment::Literal(text), None) => wild(text).then(|| one.clone()),
                (Segment::One, None) => Some(Segment::One),
                (Segment::Joined(_), None) => wild(JOINT).then(|| one.clone()),
            };
            fixed.push(met?);
        }
        Some(Self {
            fixed,
            any_rest: long.any_rest,
        })
    }

    /// Whether some path is meant by both.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.meet_where(other, |_| true).is_some()
    }
}

impl Segment {
    /// Whether `text`, which has no slash, is meant.
    fn means(&self, text: &str, wild: &impl Fn(&str) -> bool) -> bool {
        match self {
            Self::Literal(literal) => literal == text,
            Self::One => !text.is_empty() && wild(text),
            Self::Joined(names) => {
                let mut found = text.split(JOINT);
                names
                    .iter()
                    .all(|name| found.next().is_some_and(|text| name.means(text, wild)))
                    && found.next().is_none()
            }
        }
    }

    /// The segments that both mean.
    fn meet(&self, other: &Self, wild: &impl Fn(&str) -> bool) -> Option<Self> {
        match (self, other) {
            (Self::One, Self::One) => Some(Self::One),
            (Self::Literal(text), any) | (any, Self::Literal(text)) => {
                any.means(text, wild).then(|| Self::Literal(text.clone()))
            }
            (joined @ Self::Joined(_), Self::One) | (Self::One, joined @ Self::Joined(_)) => {
                wild(JOINT).then(|| joined.clone())
            }
            (Self::Joined(one), Self::Joined(two)) if one.len() == two.len() => {
                let names = one.iter().zip(two).map(|(one, two)| one.meet(two, wild));
                names.collect::<Option<Vec<_>>>().map(Self::join)
            }
            (Self::Joined(_), Self::Joined(_)) => None,
        }
    }

    /// These names as one segment, in its one spelling.
    fn join(names: Vec<Self>) -> Self {
        let literals = names.iter().map(|name| match name {
            Self::Literal(text) => Some(text.as_str()),
            Self::One | Self::Joined(_) => None,
        });
        match literals.collect::<Option<Vec<_>>>() {
            Some(all) => Self::Literal(all.join(JOINT)),
            None => Self::Joined(names),
        }
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(text) => f.write_str(text),
            Self::One => f.write_str("*"),
            Self::Joined(names) => {
                let names: Vec<String> = names.iter().map(ToString::to_string).collect();
                f.write_str(&names.join(JOINT))
            }
        }
    }
}

/// A segment, which may be names that an encoded slash joins.
fn joined(text: &str) -> Result<Segment, SegmentError> {
    if text.contains('*') && text.contains(JOINT) {
        let names = text.split(JOINT).map(segment).collect::<Result<_, _>>()?;
        Ok(Segment::Joined(names))
    } else {
        segment(text)
    }
}

fn segment(text: &str) -> Result<Segment, SegmentError> {
    match text {
        "" => Err(SegmentError::Empty),
        "*" => Ok(Segment::One),
        _ if text.contains('*') => Err(SegmentError::Star),
        _ => Ok(Segment::Literal(text.to_owned())),
    }
}

impl fmt::Display for SegmentPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let segments = self.fixed.iter().map(ToString::to_string);
        let rest = self.any_rest.then(|| "**".to_owned());
        f.write_str(&segments.chain(rest).collect::<Vec<_>>().join("/"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("team/app", "team/app", true)]
    #[case("team/app", "team/app2", false)]
    #[case("team/app", "team/app/x", false)]
    #[case("team/*", "team/app", true)]
    #[case("team/*", "team", false)]
    #[case("team/*", "team/app/x", false)]
    #[case("team/*", "team-evil/app", false)]
    #[case("team/**", "team/app/x", true)]
    #[case("team/**", "team", false)]
    #[case("team/**", "team-evil/app", false)]
    #[case("**", "anything/at/all", true)]
    #[case("*/app", "team/app", true)]
    fn whole_segments_are_compared(#[case] pattern: &str, #[case] path: &str, #[case] matches: bool) {
        let parsed = SegmentPattern::parse(pattern).unwrap();
        assert_eq!(parsed.matches(path), matches);
        assert_eq!(parsed.to_string(), pattern);
    }

    /// All short paths against all short patterns, compared segment by segment.
    #[test]
    fn a_pattern_means_what_its_segments_mean() {
        let mut texts = vec![String::new()];
        for length in 0..5 {
            let longest: Vec<String> = texts
                .iter()
                .filter(|text| text.len() == length)
                .cloned()
                .collect();
            texts.extend(
                longest
                    .iter()
                    .flat_map(|text| ["a", "b", "/", "*"].map(|next| format!("{text}{next}"))),
            );
        }
        let patterns = texts.iter().filter_map(|text| SegmentPattern::parse(text).ok());
        for pattern in patterns {
            for path in texts.iter().filter(|text| !text.contains('*')) {
                let segments: Vec<&str> = path.split('/').collect();
                let fits = |(segment, found): (&Segment, &&str)| match segment {
                    Segment::One => !found.is_empty(),
                    Segment::Literal(text) => text == found,
                    Segment::Joined(_) => false,
                };
                let fixed = pattern.fixed.len();
                let lengths = (segments.len() == fixed && !pattern.any_rest)
                    || (segments.len() > fixed && pattern.any_rest);
                let meant = lengths && pattern.fixed.iter().zip(&segments).all(fits);
                assert_eq!(pattern.matches(path), meant, "{pattern} and {path}");
            }
        }
    }

    #[rstest]
    #[case("", SegmentError::Empty)]
    #[case("/team", SegmentError::Empty)]
    #[case("team/", SegmentError::Empty)]
    #[case("team//app", SegmentError::Empty)]
    #[case("team*", SegmentError::Star)]
    #[case("**/app", SegmentError::Star)]
    #[case("***", SegmentError::Star)]
    #[case("*%2F*", SegmentError::Star)]
    fn other_patterns_are_refused(#[case] pattern: &str, #[case] error: SegmentError) {
        assert_eq!(SegmentPattern::parse(pattern), Err(error));
    }

    #[rstest]
    #[case("team/app", "team/app", true)]
    #[case("team/app", "team/other", false)]
    #[case("team/*", "team/app", true)]
    #[case("team/*", "*/app", true)]
    #[case("team/*", "team/app/x", false)]
    #[case("team/**", "team", false)]
    #[case("team/**", "team/app/x", true)]
    #[case("team/**", "team-evil/**", false)]
    #[case("team/**", "team/app/**", true)]
    #[case("**", "team/app", true)]
    fn patterns_that_share_a_path(#[case] one: &str, #[case] two: &str, #[case] overlap: bool) {
        let [one, two] = [one, two].map(|text| SegmentPattern::parse(text).unwrap());
        assert_eq!((one.overlaps(&two), two.overlaps(&one)), (overlap, overlap));
    }
}
