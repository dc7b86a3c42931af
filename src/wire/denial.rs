//! Why the gateway denies a request: one closed list of codes for answers, records, status and documentation.
//!
//! The spelling of a code is stable. It is the reason phrase of a refused `CONNECT`, the `code` of records and of
//! `status.lastDenied`, and the `code` of a refusal on a control route.

use http::StatusCode;
use serde::{Deserialize, Serialize};

use cofferdam_api::Reason;

/// What a denial means for whoever asked. It decides the HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// No token that can be believed came with the request.
    Unauthenticated,
    /// The token is a good one, but not of whoever sent the request. Nothing is recorded against the token's run.
    Impostor,
    /// The API server does not show enough yet. The gateway waits a moment before it answers so.
    NotYet,
    /// The gateway's own knowledge is out of date. The caller is known; the same request may pass later.
    Stale,
    /// The caller is known, and the request is not allowed.
    Denied,
    /// The request is not one that the gateway understands.
    Malformed,
    /// There is no such control route.
    NotFound,
    /// The control route has another method.
    MethodNotAllowed,
    /// The body is larger than allowed.
    TooLarge,
    /// The request expects something that it does not get.
    ExpectationFailed,
    /// The host behind the gateway failed.
    UpstreamFailed,
    /// A part of the installation does not answer.
    Unavailable,
}

impl Class {
    /// The status of an answer to `CONNECT` or to an absolute-form request.
    pub const fn proxy_status(self) -> StatusCode {
        match self {
            Self::Unauthenticated | Self::Impostor | Self::NotYet => {
                StatusCode::PROXY_AUTHENTICATION_REQUIRED
            }
            Self::Stale | Self::Denied => StatusCode::FORBIDDEN,
            other => other.common_status(),
        }
    }

    /// The status of an answer on a control route. Containers of the run try again after 425.
    pub const fn control_status(self) -> StatusCode {
        match self {
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::NotYet | Self::Stale => StatusCode::TOO_EARLY,
            other => other.common_status(),
        }
    }

    const fn common_status(self) -> StatusCode {
        match self {
            Self::Unauthenticated | Self::Impostor | Self::NotYet | Self::Stale | Self::Denied => {
                StatusCode::FORBIDDEN
            }
            Self::Malformed => StatusCode::BAD_REQUEST,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::ExpectationFailed => StatusCode::EXPECTATION_FAILED,
            Self::UpstreamFailed => StatusCode::BAD_GATEWAY,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// The text is none of [`DenialCode::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a denial code that this version knows")]
pub struct UnknownDenialCode;

macro_rules! denial_codes {
    ($($name:ident: $class:ident, $cause:literal, $advice:literal;)*) => {
        /// Why the gateway denied a request.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum DenialCode { $(#[doc = $cause] $name,)* }

        impl DenialCode {
            /// Every code, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The stable spelling.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// What the denial means for whoever asked.
            pub const fn class(self) -> Class {
                match self { $(Self::$name => Class::$class,)* }
            }

            /// What was wrong, as one sentence.
            pub const fn cause(self) -> &'static str {
                match self { $(Self::$name => $cause,)* }
            }

            /// What to do about it, as one or two sentences.
            pub const fn advice(self) -> &'static str {
                match self { $(Self::$name => $advice,)* }
            }
        }
    };
}

denial_codes! {
    NoEgressPolicy: Denied,
        "No policy of the run has `limits.egress`, so nothing can be reached.",
        "Add `limits.egress` with the host to the `SandboxPolicy` that the run uses.";
    EgressDenied: Denied,
        "A policy layer has `limits.egress.mode: DenyAll`.",
        "The message names the layer. Ask its owner for an `AllowList` with the host, or let the agent do without.";
    HostNotAllowed: Denied,
        "A policy layer has no egress rule for the host.",
        "The message names the layer and the hosts that it allows. Add the host to a rule of that layer; every layer must allow it.";
    PortNotAllowed: Denied,
        "A policy layer has an egress rule for the host, but not for the port.",
        "The message names the layer and the ports that it allows. Add the port to the rule, or use a listed port.";
    RequestNotAllowed: Denied,
        "A policy layer has rules for the host and the port, but none for the request's method and path.",
        "The message names the layer and what it allows. Add the method and the path to a rule of that layer; every layer must allow them. A star never stands for an encoded `/`, `%`, `;`, `?` or `#`: a rule must have it literally.";
    CredentialConflict: Denied,
        "Rules of policy that allow the request name different credentials for it.",
        "The message names both. Let the rules for these requests, in all policies of the run, name one credential.";
    CredentialNeedsTls: Denied,
        "A rule that allows the request adds a credential to it, and the request is in clear text.",
        "Use `https://`. A credential goes out over TLS alone, but for Services of the cluster where `ClusterSandboxPolicies` say `credentialInClearText: Allow`.";
    CredentialUnavailable: Unavailable,
        "A rule that allows the request adds a credential to it, and the gateway has none that it can send.",
        "The message says what is missing. `kubectl get sandboxcredentials` shows which credentials are ready; a Secret that is created or put right is used within seconds.";
    CredentialEchoed: UpstreamFailed,
        "The host sent the credential back in a header of its answer, so the answer was not passed on.",
        "Whoever runs the host has to stop that; a credential that was shown to others should be renewed.";
    BetaNotAllowed: Denied,
        "A request that gets a credential asks a model's provider for a beta that acts where nobody looks, or keeps what no later request shows.",
        "The message names the beta. Turn the feature off in the client: remote MCP servers, code execution, files and threads of the provider.";
    PlaceholderLeaked: Denied,
        "The request carries the placeholder of a credential to a host that is none of the credential's.",
        "Find out why the agent sends its key elsewhere: a wrong base URL, or an agent that was talked into it. The placeholder itself is worth nothing.";
    ServiceNotGranted: Denied,
        "Only the namespace's own policy grants the Service of the cluster.",
        "Ask the owner of the cluster policies to list the Service in `services` of a rule of a `ClusterSandboxPolicy`; a `SandboxPolicy` can only narrow.";
    ServiceUnusable: Denied,
        "The Service of the cluster is granted, and there is none of this name and port that the gateway may dial.",
        "The message says what is wrong with the Service: it is missing, headless, of type `ExternalName` or without a selector; or its namespace lacks the label `cofferdam.dev/services: reachable`, runs sandboxes, or is Cofferdam's own.";
    NotAskedFor: Denied,
        "The policies allow the host, but `spec.egress` of the run does not name it.",
        "Add the host to `spec.egress` of the `AgentRun`, or leave `spec.egress` out to get what the policies allow.";
    NotARepositoryHost: Denied,
        "The preparation of a run reaches the hosts of its repositories and nothing else.",
        "Look for a repository with a submodule, a redirect or a filter that needs another host.";
    DeniedSinceAdmission: Denied,
        "A `ClusterSandboxPolicy` allowed the host when the run was admitted and denies it now.",
        "The message names the policy. A new run is held to the new policy from its start.";
    NamespaceUnknown: Stale,
        "The API server does not show the run's namespace to the gateway, so it cannot tell which `ClusterSandboxPolicies` apply.",
        "It passes when the gateway's watch of namespaces has caught up. If it stays, read the gateway's log.";
    PolicyUnreadable: Denied,
        "The `ConfigMap` with the run's frozen policy is missing, was changed, or has a version that this gateway does not know.",
        "Look for who touched `ConfigMaps` in the operator's namespace; upgrade the gateway before the controller. Start a new run.";
    AddressDenied: Denied,
        "The host's name resolves to an address that is not on the public internet and that not every policy layer lists, or to an address of the cluster.",
        "For a server in a private network, add its network to `addresses` of the rule in every layer. Addresses of the cluster and of metadata services are never dialled.";
    ResolveFailed: Denied,
        "The host's name does not resolve.",
        "Check the spelling of the host and the cluster's DNS.";
    DialFailed: Denied,
        "The host is allowed, but no connection to it could be opened, or it closed the connection at once.",
        "Check from the gateway's node that the host answers on the port, and that a `NetworkPolicy` or firewall lets the gateway out.";
    UpstreamFailed: UpstreamFailed,
        "The host is allowed and was reached, but gave no HTTP answer that can be passed on.",
        "Try again; then look at the host's own log.";
    UpstreamCertificateExpired: UpstreamFailed,
        "The host's certificate has expired, or is not valid yet.",
        "The operator of the host has to renew it. If its dates are right, the clock of the gateway's node is wrong.";
    UpstreamCertificateUntrusted: UpstreamFailed,
        "The host's certificate is not signed by a certificate authority that the gateway trusts.",
        "For a host of your own, add its CA to the chart's value `trustedCA`. Otherwise somebody between the gateway and the host answers in its place.";
    UpstreamCertificateMismatch: UpstreamFailed,
        "The host's certificate is one for other names.",
        "Check that the name resolves to the right server. Some servers have a name of their own for this in their certificate: use that one in the rule and in the client.";
    UpstreamTlsFailed: UpstreamFailed,
        "The host is allowed and was reached, but no TLS 1.2 or 1.3 came about with it.",
        "Check that the server uses TLS on this port, and which versions and key exchanges the server offers.";
    UpstreamTimeout: UpstreamFailed,
        "The host is allowed and was reached, but gave no answer within the time limit.",
        "Try again; then look at the host's own log.";
    HostInvalid: Denied,
        "The request names its host by an IP address or by something that is not a lower-case DNS name with a port.",
        "Use a DNS name and a port from 1 to 65535. IP addresses are refused in every spelling: policies list names.";
    RequestInvalid: Denied,
        "An HTTP request could be read in two ways, names another host than its tunnel, or has a method that the gateway does not serve.",
        "Send exactly one `Host` header that repeats the host of the URL, no `Trailer`, an ordinary method in capitals, and a path without `//`, `;`, `\\`, `#`, `.` and `..` segments, encoded dots, backslashes and control characters. Nothing of that is put right on the way: what was judged is what is sent.";
    UpgradeRefused: Denied,
        "A request that is read on its way asked to become another protocol, such as WebSocket.",
        "Turn WebSockets off in the client; most fall back by themselves. What has to have them needs a host whose every rule says `tls: Tunnel`. An offer of h2c is passed over.";
    ExpectRefused: ExpectationFailed,
        "A request has an `Expect` header that says something else than `100-continue`.",
        "Leave the header out. `100-continue` is answered by the gateway itself and goes no further.";
    HelloMissing: Denied,
        "The tunnel was opened, but no whole TLS `ClientHello` came in 10 s.",
        "A client that opens a tunnel must start TLS at once. Look for a client that pools idle tunnels.";
    NotTls: Denied,
        "The first bytes inside the tunnel are neither a TLS `ClientHello` nor a plain HTTP/1.1 request.",
        "Tunnels carry TLS, or one plain HTTP request. SSH, databases and other protocols cannot pass; use git over HTTPS.";
    HelloMalformed: Denied,
        "The TLS `ClientHello` is malformed or longer than 16 KiB.",
        "Update the client's TLS library.";
    SniMissing: Denied,
        "The TLS `ClientHello` names no server (no SNI).",
        "Turn server name indication on in the client.";
    SniMismatch: Denied,
        "The TLS `ClientHello` names another server than the `CONNECT` request.",
        "The client tries domain fronting, or a host alias is configured. Let both names be the same.";
    EchRefused: Denied,
        "The TLS `ClientHello` is, or pretends to be, encrypted (ECH), so the true server name cannot be seen.",
        "Browsers send it always, as GREASE, which nobody can tell from the real one. Chromium: the policy `EncryptedClientHelloEnabled: false` in `/etc/chromium/policies/managed/`, for Chrome in `/etc/opt/chrome/policies/managed/`. Firefox: `security.tls.ech.grease_probability` 0 and `network.dns.echconfig.enabled` false.";
    CaNotTrusted: Denied,
        "The client broke its TLS off because it does not trust the certificate authority by which the gateway reads requests.",
        "Every run has that CA in `/cofferdam/ca.pem`, and the variables of most clients name the file. Point the client at it (docs/inspection.md lists how), or give the host a rule with `tls: Tunnel` if it pins certificates.";
    ClientTlsFailed: Denied,
        "The client's TLS with the gateway did not come about.",
        "Clients need TLS 1.2 or 1.3 and HTTP/1.1; one that uses HTTP/2 alone (gRPC) needs a rule with `tls: Tunnel`. Some clients that do not trust the gateway's CA close the connection without saying so.";
    InspectionUnavailable: Unavailable,
        "The gateway has no usable certificate authority to read requests by.",
        "Look at the Secret of the chart's value `inspection.caSecret` and at the gateway's log. A gateway that is not ready gets no new connections.";
    LimitExceeded: Denied,
        "The run, or all runs of its namespace together, reached a limit of connections, of requests, of new names of hosts or of the gateway's memory.",
        "The message names the limit. Let the agent reuse connections, make fewer requests at the same time, and read the answers that it asked for.";
    EvidenceUnavailable: Denied,
        "The run's records cannot be stored, and without evidence there is no traffic.",
        "Check that the archive is ready and that its volume has space. A run has at most 16 MiB of records.";
    RunEnded: Denied,
        "The run, or the part of it that asked, has ended or is being stopped.",
        "Nothing; processes that outlive their run have no way out.";
    IsolationLost: Denied,
        "The run's sidecar reached something that the fence forbids, so the run's way out was closed.",
        "Read the run's message for the probe that was answered, and check what enforces `NetworkPolicies` on that node.";
    PodMutated: Denied,
        "The live pod differs from the pod that the controller built.",
        "Look for an admission webhook or a person that changes pods, and exempt pods with the label `cofferdam.dev/run`.";
    Stale: Stale,
        "The gateway's view of the cluster is not current.",
        "Check that the API server answers the gateway. The gateway admits nobody when its view is older than 15 s.";
    TokenMissing: Unauthenticated,
        "The request carries no bearer token, or more than one.",
        "Inside a sandbox use the proxy of the environment variables, which adds the token. Nothing else may call the gateway.";
    TokenInvalid: Unauthenticated,
        "The token is expired, forged, of another audience or of another cluster.",
        "Look for a wrong clock on the node, or for something outside of a sandbox that calls the gateway.";
    KeysUnavailable: NotYet,
        "The API server's keys, which verify tokens, cannot be read.",
        "Check that the API server answers the gateway.";
    AudienceRefused: Impostor,
        "The token is one of the pod's, but not for this use.",
        "Look for a process that uses the token of another container of its pod.";
    PodUnknown: NotYet,
        "The API server shows no live sandbox pod of the token's uid.",
        "It passes within a second for a new pod. Otherwise the pod has ended.";
    PodMismatch: Impostor,
        "The token is not that of a sandbox pod: its pod, `ServiceAccount`, namespace or owner is another.",
        "Look for who made a pod by hand with the labels of a run.";
    AddressUnknown: NotYet,
        "The API server does not show the address of the caller's pod yet.",
        "It passes when the kubelet has reported the address.";
    PeerMismatch: Impostor,
        "The token is another pod's than the one that the connection comes from.",
        "Somebody uses a stolen token. Find the sandbox pod with that address.";
    PeerAddressRewritten: Impostor,
        "The connection does not come from the pod's own address: something rewrites it on the way.",
        "Turn source NAT off between sandboxes and the gateway, for instance masquerading within the cluster's own ranges.";
    AddressShared: Impostor,
        "The API server shows two live sandbox pods with the caller's address.",
        "It passes when the older pod is gone. Sandboxes with `hostNetwork` cannot use the gateway.";
    BadRequest: Malformed,
        "The bytes are not a request that the gateway serves: malformed HTTP/1.1, another form of target, or a body that cannot be read.",
        "Speak HTTP/1.1 with `CONNECT host:port` or `http://host/path`.";
    NotFound: NotFound,
        "There is no such control route.",
        "Upgrade the gateway before the runner's image.";
    MethodNotAllowed: MethodNotAllowed,
        "The control route has another method.",
        "Upgrade the gateway before the runner's image.";
    AgentNotStarted: Denied,
        "A pod hands over output although its agent has not started.",
        "Nothing; the pod's successor hands over the run's output.";
    OutputTooLarge: TooLarge,
        "The run's output is larger than 64 MiB.",
        "Let the agent commit less: no build results, no dependencies, no generated data.";
    ArchiveUnavailable: Unavailable,
        "The archive did not take the run's output.",
        "Check that the archive is ready and that its volume has space. The sidecar tries again until its time is over.";
}

impl DenialCode {
    /// The reason of a run whose own container is refused with this code; `None` where the refusal alone ends no run.
    pub const fn reason(self) -> Option<Reason> {
        match self {
            Self::PodMutated => Some(Reason::PodMutated),
            Self::PeerAddressRewritten => Some(Reason::PeerAddressRewritten),
            Self::CredentialUnavailable => Some(Reason::CredentialFailed),
            _ => None,
        }
    }
}

impl std::fmt::Display for DenialCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for DenialCode {
    type Err = UnknownDenialCode;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.iter().copied().find(|code| code.as_str() == text);
        known.ok_or(UnknownDenialCode)
    }
}

#[cfg(test)]
mod tests;
