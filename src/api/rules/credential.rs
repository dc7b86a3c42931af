//! CEL rules for credentials.

use kube::core::Rule;

use super::{HOST_LABEL, rule};
use crate::credential::{APP_PERMISSIONS, OTHER_HEADERS};

/// A key of a Secret.
pub(crate) fn secret_key() -> Rule {
    rule(
        "self.matches('^[-._a-zA-Z0-9]+$')",
        "secretKey must be a key of the Secret: letters, digits, '-', '_' and '.'",
    )
}

/// An App is described where the credential is one.
pub(crate) fn app_of_its_type() -> Rule {
    rule(
        "has(self.gitHubApp) == (self.type == 'GitHubApp')",
        "gitHubApp must be given with type: GitHubApp, and with no other type",
    )
}

/// Address of a forge.
pub(crate) fn forge_url() -> Rule {
    rule(
        format!("self.matches('^https://{HOST_LABEL}([.]{HOST_LABEL})+(:[1-9][0-9]{{0,4}})?/?$')"),
        "url must be https:// and a host name in lower case, with a port where it is not 443, and nothing behind it",
    )
}

/// Permissions of an App.
pub(crate) fn app_permissions() -> Rule {
    let names = APP_PERMISSIONS.join("', '");
    rule(
        format!("self.all(name, name in ['{names}'])"),
        "permissions must be among those that reach no further than a repository and have nothing run: checks, contents, \
         deployments, discussions, issues, metadata, packages, pages, pull_requests, repository_projects, \
         security_events, statuses, vulnerability_alerts; never workflows, administration or secrets",
    )
}

/// Name of a header.
pub(crate) fn header_name() -> Rule {
    rule(
        "self.matches('^[A-Za-z0-9]+(-[A-Za-z0-9]+)*$')",
        "header must be the name of an HTTP header such as Authorization or x-api-key: letters, digits and single '-'",
    )
}

/// Headers that say something else than who asks.
pub(crate) fn header_carries_credentials() -> Rule {
    let names = OTHER_HEADERS.join("|");
    rule(
        format!("!self.matches('(?i)^({names}|proxy-.*|x-forwarded-.*)$')"),
        "header is one that the gateway or the server uses for something else: name one that carries credentials",
    )
}

/// Word before a credential.
pub(crate) fn authentication_scheme() -> Rule {
    rule(
        "self.matches('^[A-Za-z][-A-Za-z0-9]*$')",
        "scheme must be a word such as Bearer: letters, digits and '-'",
    )
}

/// User name of basic authentication.
pub(crate) fn basic_username() -> Rule {
    rule(
        "self.matches('^[-A-Za-z0-9._@+~=]+$')",
        "username must consist of letters, digits and - . _ @ + ~ =",
    )
}

/// Beginning of a placeholder.
pub(crate) fn placeholder_prefix() -> Rule {
    rule(
        "self.matches('^[A-Za-z0-9][-A-Za-z0-9_]*$')",
        "prefix must consist of letters, digits, '-' and '_', and start with a letter or digit",
    )
}
