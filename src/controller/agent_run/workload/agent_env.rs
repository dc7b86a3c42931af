//! The agent's environment: the user's literals, what stands in the place of credentials, then what makes ordinary tools
//! find the only way out.
//!
//! No single variable is honoured by all tools, so each gets the spellings that some tool was seen to need. The CA
//! file carries the image's usual roots too, because most of these variables replace the roots and do not add.

use k8s_openapi::api::core::v1::EnvVar;

use super::volumes::HOME;
use cofferdam_api::names::FORWARDER_PORT;

const CA_FILE: &str = "/cofferdam/ca.pem";

/// Names that tools read the proxy from: `wget` and `apt` only know the lower-case ones, Java none.
const PROXY: [&str; 6] = [
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "ALL_PROXY",
    "all_proxy",
];
/// Names that tools read a CA file from.
const CA: [&str; 9] = [
    "SSL_CERT_FILE",
    "NODE_EXTRA_CA_CERTS",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "AWS_CA_BUNDLE",
    "npm_config_cafile",
    "PIP_CERT",
    "CARGO_HTTP_CAINFO",
];
/// The rest of the agent's contract.
const FIXED: [(&str, &str); 10] = [
    // Without `::1`: httpx before 0.24.1 cannot be used at all where the list has it.
    ("NO_PROXY", "localhost,127.0.0.1,0.0.0.0"),
    ("no_proxy", "localhost,127.0.0.1,0.0.0.0"),
    ("DENO_CERT", CA_FILE),
    ("WGETRC", "/cofferdam/wgetrc"),
    ("APT_CONFIG", "/cofferdam/apt.conf"),
    ("NODE_USE_ENV_PROXY", "1"),
    ("GIT_TERMINAL_PROMPT", "0"),
    // Work trees are mounts whose roots belong to root; without this file git would refuse to work in them.
    ("GIT_CONFIG_SYSTEM", "/cofferdam/gitconfig"),
    ("HOME", HOME),
    ("COFFERDAM_PROMPT_FILE", "/cofferdam/prompt"),
];

/// For JVMs, which read none of the above. Not reserved: whoever sets it says all of it.
const JVM: (&str, &str) = (
    "JAVA_TOOL_OPTIONS",
    "-Djavax.net.ssl.trustStore=/cofferdam/cacerts -Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=3128 \
     -Dhttp.proxyHost=127.0.0.1 -Dhttp.proxyPort=3128",
);

/// All variables. A user's variable of a reserved name, or of a placeholder's, is left out: admission refuses it, and where
/// two of a name stand in a list, clients disagree about which one counts.
pub fn variables(user: &[cofferdam_api::EnvVar], placeholders: &[(&str, String)]) -> Vec<EnvVar> {
    let proxy = format!("http://127.0.0.1:{FORWARDER_PORT}");
    let contract: Vec<(&str, &str)> = PROXY
        .iter()
        .map(|name| (*name, proxy.as_str()))
        .chain(CA.iter().map(|name| (*name, CA_FILE)))
        .chain(FIXED)
        .collect();
    let jvm = Some(JVM).filter(|(name, _)| user.iter().all(|variable| variable.name != *name));
    let reserved = |name: &str| contract.iter().any(|(reserved, _)| *reserved == name);
    let replaced = |name: &str| placeholders.iter().any(|(env, _)| *env == name);
    let placeholders = placeholders.iter().filter(|(env, _)| !reserved(env));
    user.iter()
        .filter(|variable| !reserved(&variable.name) && !replaced(&variable.name))
        .map(|variable| literal(&variable.name, variable.value.clone()))
        .chain(placeholders.map(|(env, value)| literal(env, value.clone())))
        .chain(
            contract
                .iter()
                .chain(&jvm)
                .map(|(name, value)| literal(name, (*value).to_owned())),
        )
        .collect()
}

/// A variable with a literal value. The API server drops an empty value, so it is left out here too.
pub fn literal(name: &str, value: String) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value: Some(value).filter(|value| !value.is_empty()),
        value_from: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contract_variables_win_and_the_users_others_stay() {
        let own = [
            ("https_proxy", "http://evil:1"),
            ("MODEL", "m1"),
            ("EMPTY", ""),
            ("API_KEY", "own"),
        ];
        let user = own.map(|(name, value)| cofferdam_api::EnvVar {
            name: name.to_owned(),
            value: value.to_owned(),
        });
        let placeholders = [("API_KEY", "sk-placeholder".to_owned()), ("HOME", "x".to_owned())];
        let variables = variables(&user, &placeholders);
        let values = |name: &str| -> Vec<Option<&str>> {
            variables
                .iter()
                .filter(|variable| variable.name == name)
                .map(|variable| variable.value.as_deref())
                .collect()
        };
        assert_eq!(values("https_proxy"), [Some("http://127.0.0.1:3128")]);
        assert_eq!(values("MODEL"), [Some("m1")]);
        assert_eq!(values("EMPTY"), [None]);
        assert_eq!(values("HOME"), [Some("/home/agent")]);
        assert_eq!(values("API_KEY"), [Some("sk-placeholder")]);
        let jvm = values("JAVA_TOOL_OPTIONS");
        let (options, port) = (jvm[0].unwrap(), FORWARDER_PORT.to_string());
        assert!(jvm.len() == 1 && options.matches(&port).count() == 2, "{options}");
    }

    #[test]
    fn options_of_the_users_own_for_jvms_stay() {
        let own = cofferdam_api::EnvVar {
            name: "JAVA_TOOL_OPTIONS".to_owned(),
            value: "-Xmx1g".to_owned(),
        };
        let variables = variables(&[own], &[]);
        let named = variables
            .iter()
            .filter(|variable| variable.name == "JAVA_TOOL_OPTIONS");
        assert_eq!(
            named
                .map(|variable| variable.value.as_deref())
                .collect::<Vec<_>>(),
            [Some("-Xmx1g")]
        );
    }
}
