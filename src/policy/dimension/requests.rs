//! What rules say of requests: the methods and the paths that they may have.

use std::fmt;

use serde::Serialize;

use crate::pattern::method::Method;
use crate::pattern::path::{PathPattern, Target};

/// What is asked of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The path and the query.
    pub target: Target,
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.target)
    }
}

/// Requests with one of these methods and one of these paths. An empty list says nothing: any method, any path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Requests {
    /// The methods, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<Method>,
    /// The paths, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<PathPattern>,
}

impl Requests {
    /// Whether every request is meant.
    pub const fn are_all(&self) -> bool {
        self.methods.is_empty() && self.paths.is_empty()
    }

    /// Whether the method is meant, with some path.
    pub fn have_method(&self, method: &Method) -> bool {
        self.methods.is_empty() || self.methods.contains(method)
    }

    /// Whether the request is meant.
    pub fn have(&self, request: &Request) -> bool {
        let has_path =
            || self.paths.is_empty() || self.paths.iter().any(|path| path.matches(&request.target));
        self.have_method(&request.method) && has_path()
    }

    /// The requests that both mean; `None`: there are none.
    pub fn meet(&self, other: &Self) -> Option<Self> {
        let methods = meet_lists(&self.methods, &other.methods, |one, two| {
            (one == two).then(|| one.clone())
        })?;
        let paths = meet_lists(&self.paths, &other.paths, PathPattern::meet)?;
        Some(Self {
            methods,
            paths: without_covered(paths, PathPattern::covers),
        })
    }

    /// Whether every request that `other` means is meant.
    fn cover(&self, other: &Self) -> bool {
        let methods = self.methods.is_empty()
            || !other.methods.is_empty() && other.methods.iter().all(|method| self.methods.contains(method));
        let is_covered = |path: &PathPattern| self.paths.iter().any(|known| known.covers(path));
        methods && (self.paths.is_empty() || !other.paths.is_empty() && other.paths.iter().all(is_covered))
    }
}

/// The requests of any of `one` that are also requests of any of `two`.
pub(crate) fn meet_any(one: &[Requests], two: &[Requests]) -> Vec<Requests> {
    let pairs = one.iter().flat_map(|one| two.iter().map(move |two| (one, two)));
    let mut common: Vec<Requests> = pairs.filter_map(|(one, two)| one.meet(two)).collect();
    common.sort();
    common.dedup();
    without_covered(common, Requests::cover)
}

/// Each value once, without those that another one covers. `all` has no value twice.
fn without_covered<T>(all: Vec<T>, covers: impl Fn(&T, &T) -> bool) -> Vec<T> {
    let mut kept: Vec<T> = Vec::with_capacity(all.len());
    for next in all {
        if !kept.iter().any(|known| covers(known, &next)) {
            kept.retain(|known| !covers(&next, known));
            kept.push(next);
        }
    }
    kept
}

/// The meet of two lists of which an empty one means everything; `None`: nothing is in both.
fn meet_lists<T: Ord + Clone>(one: &[T], two: &[T], meet: impl Fn(&T, &T) -> Option<T>) -> Option<Vec<T>> {
    if one.is_empty() {
        return Some(two.to_vec());
    }
    if two.is_empty() {
        return Some(one.to_vec());
    }
    let pairs = one.iter().flat_map(|one| two.iter().map(move |two| (one, two)));
    let mut common: Vec<T> = pairs.filter_map(|(one, two)| meet(one, two)).collect();
    common.sort();
    common.dedup();
    (!common.is_empty()).then_some(common)
}

impl fmt::Display for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listed = |items: Vec<String>, any: &str| {
            if items.is_empty() {
                any.to_owned()
            } else {
                items.join(",")
            }
        };
        let methods = listed(
            self.methods.iter().map(ToString::to_string).collect(),
            "any method",
        );
        let paths = listed(self.paths.iter().map(ToString::to_string).collect(), "any path");
        write!(f, "{methods} {paths}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::sample::{select, subsequence};

    fn requests() -> impl Strategy<Value = Requests> {
        let methods = subsequence(&["GET", "HEAD", "POST"][..], 0..=3);
        let paths = subsequence(&["/**", "/*", "/a", "/a/**", "/*/b", "/a?k=v"][..], 0..=3);
        (methods, paths).prop_map(|(methods, paths)| {
            let mut paths: Vec<PathPattern> = paths.iter().map(|path| path.parse().unwrap()).collect();
            paths.sort();
            Requests {
                methods: methods.iter().map(|method| method.parse().unwrap()).collect(),
                paths,
            }
        })
    }

    fn request() -> impl Strategy<Value = Request> {
        let method = select(&["GET", "HEAD", "POST", "PUT"][..]);
        let target = select(
            &[
                "/", "/a", "/b", "/a/b", "/c/b", "/a/b/c", "/a?k=v", "/a?l", "/a%2fb",
            ][..],
        );
        (method, target).prop_map(|(method, target)| Request {
            method: method.parse().unwrap(),
            target: Target::parse(target).unwrap(),
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 5000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_meet_is_both(one in requests(), two in requests(), request in request()) {
            let both = one.have(&request) && two.have(&request);
            prop_assert_eq!(one.meet(&two).is_some_and(|met| met.have(&request)), both);
            if one.cover(&two) && two.have(&request) {
                prop_assert!(one.have(&request));
            }
        }

        #[test]
        fn a_meet_of_unions_is_both(
            one in prop::collection::vec(requests(), 0..4), two in prop::collection::vec(requests(), 0..4), request in request(),
        ) {
            let any = |all: &[Requests]| all.iter().any(|one| one.have(&request));
            prop_assert_eq!(any(&meet_any(&one, &two)), any(&one) && any(&two));
        }
    }
}
