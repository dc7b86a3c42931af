//! The agent's environment: which variables are the sandbox's own.

/// Names with this prefix are the sandbox's.
pub const RESERVED_PREFIX: &str = "COFFERDAM_";

/// Variables that the sandbox sets for every agent, or that would undo one of those. A run that sets one is refused;
/// the rule in the schema is made from this list.
pub const RESERVED: &[&str] = &[
    "HOME",
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "ALL_PROXY",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NODE_EXTRA_CA_CERTS",
    "NODE_USE_ENV_PROXY",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "GIT_HTTP_PROXY_AUTHMETHOD",
    "GIT_TERMINAL_PROMPT",
    "GIT_CONFIG_SYSTEM",
    "GIT_CONFIG_NOSYSTEM",
    "AWS_CA_BUNDLE",
    "npm_config_cafile",
    "PIP_CERT",
    "CARGO_HTTP_CAINFO",
    "DENO_CERT",
    "WGETRC",
    "APT_CONFIG",
];
