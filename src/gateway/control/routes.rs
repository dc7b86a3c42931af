//! Which control route a request is for, and which tokens open it.

use crate::caller::Kind;
use crate::denial::Denial;
use cofferdam_wire::control::{ISOLATION, OUTPUT, STATE, TRUST, WHOAMI};
use cofferdam_wire::denial::DenialCode;

/// A control route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// Who the gateway takes the caller for.
    WhoAmI,
    /// The additional trusted CAs.
    Trust,
    /// The run's state, once it is newer than `after`.
    State {
        /// The revision that the caller knows.
        after: u64,
    },
    /// The run's upload.
    Output,
    /// A report that isolation was lost.
    Isolation,
}

impl Route {
    /// The route of a request.
    ///
    /// # Errors
    /// There is none of this path, or it has another method.
    pub fn of(method: &str, target: &str) -> Result<Self, Denial> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (expected, route) = match path {
            WHOAMI => ("GET", Self::WhoAmI),
            TRUST => ("GET", Self::Trust),
            STATE => ("GET", Self::State { after: after(query) }),
            OUTPUT => ("POST", Self::Output),
            ISOLATION => ("POST", Self::Isolation),
            _ => {
                return Err(Denial::new(
                    DenialCode::NotFound,
                    "there is no such control route",
                ));
            }
        };
        if method == expected {
            Ok(route)
        } else {
            let message = format!("the method of this control route is {expected}");
            Err(Denial::new(DenialCode::MethodNotAllowed, message))
        }
    }

    /// Whose route it is. The agent's token opens none: the forwarder adds it to whatever the agent says.
    pub fn is_for(self, kind: Kind) -> bool {
        match self {
            Self::WhoAmI => matches!(kind, Kind::Prepare | Kind::Collect),
            Self::Trust => kind == Kind::Prepare,
            Self::State { .. } | Self::Output | Self::Isolation => kind == Kind::Collect,
        }
    }
}

fn after(query: &str) -> u64 {
    let value = query.split('&').find_map(|pair| pair.strip_prefix("after="));
    value.and_then(|value| value.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("GET", "/v1/whoami", Ok(Route::WhoAmI))]
    #[case("GET", "/v1/state?after=2", Ok(Route::State { after: 2 }))]
    #[case("GET", "/v1/state?x=1&after=x", Ok(Route::State { after: 0 }))]
    #[case("POST", "/v1/output", Ok(Route::Output))]
    #[case("PUT", "/v1/output", Err(DenialCode::MethodNotAllowed))]
    #[case("GET", "/v1/output/", Err(DenialCode::NotFound))]
    #[case("GET", "//v1/whoami", Err(DenialCode::NotFound))]
    #[case("GET", "/metrics", Err(DenialCode::NotFound))]
    fn routes(#[case] method: &str, #[case] target: &str, #[case] expected: Result<Route, DenialCode>) {
        assert_eq!(Route::of(method, target).map_err(|denial| denial.code), expected);
    }

    #[test]
    fn the_agents_token_opens_no_control_route() {
        for route in [
            Route::WhoAmI,
            Route::Trust,
            Route::State { after: 0 },
            Route::Output,
            Route::Isolation,
        ] {
            assert!(!route.is_for(Kind::Egress));
            assert_eq!(route.is_for(Kind::Collect), route != Route::Trust);
            assert_eq!(
                route.is_for(Kind::Prepare),
                matches!(route, Route::WhoAmI | Route::Trust)
            );
        }
    }
}
