//! Policies and runs made at random from few words, so that they often overlap.

use cofferdam_policy::dimension::vulnerabilities::{Counts, Reports};
use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Map, Value, json};

use crate::fixtures::{World, cluster_policy};

/// An image by its digest.
pub const PINNED: &str =
    "ghcr.io/a/x@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

pub const IMAGES: [&str; 6] = [
    PINNED,
    "ghcr.io/a/x:1",
    "ghcr.io/a-evil/x:1",
    "ghcr.io/a/b/x:1",
    "x",
    "ghcr.io/a/x:2",
];
const IMAGE_PATTERNS: [&str; 6] = [
    "ghcr.io/a/*",
    "ghcr.io/**",
    "ghcr.io/a/x:1",
    "docker.io/*",
    "ghcr.io/a/**",
    "ghcr.io/b/*",
];
/// Around all of [`IMAGES`]: policies that share nothing with one another are refused, so that many must be wide.
const WIDE_IMAGES: [&str; 2] = ["ghcr.io/**", "docker.io/*"];
const REPOSITORIES: [&str; 4] = [
    "https://g.example/a/x",
    "https://g.example/a/y.git",
    "https://g.example/b/x",
    "https://h.example:8443/a/x",
];
const REPOSITORY_PATTERNS: [&str; 5] = [
    "https://g.example/a/*",
    "https://g.example/**",
    "https://g.example/a/x",
    "https://h.example:8443/**",
    "https://h.example/**",
];
const WIDE_REPOSITORIES: [&str; 3] = [
    "https://g.example/**",
    "https://h.example:8443/**",
    "https://h.example/**",
];
pub const HOSTS: [&str; 5] = [
    "a.example.com",
    "b.example.com",
    "example.com",
    "a.b.example.com",
    "other.example.org",
];
pub const HOST_PATTERNS: [&str; 5] = [
    "*.example.com",
    "a.example.com",
    "example.com",
    "*.b.example.com",
    "*.example.org",
];
pub const PORTS: [u16; 3] = [443, 8443, 80];
pub const ADDRESSES: [&str; 6] = [
    "10.1.2.3",
    "10.2.0.1",
    "192.168.1.1",
    "127.0.0.1",
    "169.254.169.254",
    "fd12::1",
];
pub const NETWORKS: [&str; 5] = [
    "10.0.0.0/8",
    "10.1.0.0/16",
    "192.168.0.0/16",
    "0.0.0.0/0",
    "fd12::/32",
];
const CLASSES: [&str; 3] = ["gvisor", "kata", "runc"];

// Strategies are boxed where they meet: nested in one another by value they outgrow a test's stack.

/// All of `wide`, or some of `of`.
fn wide_or_some(
    wide: &'static [&'static str],
    of: &'static [&'static str],
) -> impl Strategy<Value = Vec<&'static str>> {
    prop_oneof![4 => Just(wide.to_vec()), 1 => some(of)]
}

/// Some of these, in their order, at least one.
fn some(of: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    subsequence(of, 1..=of.len())
}

fn listed(field: &'static str, list: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    list.prop_flat_map(move |list| {
        prop_oneof![
            // A list beside it must not grant anything, even where the schema let it through.
            1 => Just(json!({"mode": "DenyAll", field: list})),
            9 => Just(json!({"mode": "AllowList", field: list})),
        ]
    })
}

fn images() -> impl Strategy<Value = Value> {
    let list = wide_or_some(&WIDE_IMAGES, &IMAGE_PATTERNS).prop_map(|list| json!(list));
    let list = listed("allowed", list);
    (
        list,
        word(&["Record", "Record", "Record", "Required"]),
        word(&["Always", "IfNotPresent"]),
        option::weighted(0.06, vulnerabilities()),
    )
        .prop_map(|(mut images, digest, pull, vulnerabilities)| {
            let fields = [
                ("digest", digest),
                ("pullPolicy", pull),
                ("vulnerabilities", vulnerabilities),
            ];
            add(&mut images, fields);
            images
        })
}

/// What a layer says of vulnerabilities.
pub fn vulnerabilities() -> impl Strategy<Value = Value> {
    let severity = select(&["Low", "Medium", "High", "Critical"][..]);
    (severity, word(&["Allow", "Allow", "Deny"])).prop_map(|(severity, missing)| {
        let mut limits = json!({"maxSeverity": severity});
        add(&mut limits, [("onMissingReport", missing)]);
        limits
    })
}

/// What a scanner found in the image that is named by its digest, if it has seen it.
pub fn reports() -> impl Strategy<Value = Reports> {
    let (digest, count) = (PINNED.split_once('@').unwrap().1, select(&[0, 0, 0, 2][..]));
    let counts = vec(count, 5).prop_map(|counts| Counts {
        critical: counts[0],
        high: counts[1],
        medium: counts[2],
        low: counts[3],
        unknown: counts[4],
    });
    option::of(counts).prop_map(move |counts| {
        let report = counts.map(|counts| (digest.to_owned(), counts));
        report.into_iter().collect()
    })
}

/// One of these words, or none.
fn word(of: &'static [&'static str]) -> impl Strategy<Value = Option<Value>> {
    option::of(select(of).prop_map(|word| json!(word)))
}

/// Sets what is there.
fn add(object: &mut Value, fields: impl IntoIterator<Item = Field>) {
    for (name, value) in fields {
        if let Some(value) = value {
            object[name] = value;
        }
    }
}

fn repositories() -> impl Strategy<Value = Value> {
    let rules = wide_or_some(&WIDE_REPOSITORIES, &REPOSITORY_PATTERNS).prop_flat_map(|urls| {
        let addresses = vec(subsequence(&NETWORKS[..], 0..=3), urls.len());
        addresses.prop_map(move |addresses| {
            let rules = urls.iter().zip(addresses);
            named(rules.map(|(url, addresses)| json!({"url": url, "addresses": addresses})))
        })
    });
    listed("clone", rules)
}

fn egress() -> impl Strategy<Value = Value> {
    // A tunnel that nobody consents to is a mistake, and one rule that is none makes none of all: few layers mix them.
    let modes = prop_oneof![
        4 => Just(&["Inspect"][..]),
        4 => Just(&["Tunnel"][..]),
        1 => Just(&["Inspect", "Tunnel"][..]),
    ];
    let rules = modes.prop_flat_map(|modes| {
        let rule = (
            wide_or_some(&HOST_PATTERNS, &HOST_PATTERNS),
            prop_oneof![Just(PORTS.to_vec()), subsequence(&PORTS[..], 1..=3)],
            subsequence(&NETWORKS[..], 0..=3),
            select(modes),
        );
        let rule = rule.prop_map(|(hosts, ports, addresses, tls)| json!({"hosts": hosts, "ports": ports, "addresses": addresses, "tls": tls}));
        vec(rule, 1..4).prop_map(|rules| named(rules.into_iter()))
    });
    listed("rules", rules)
}

fn named(rules: impl Iterator<Item = Value>) -> Value {
    rules
        .enumerate()
        .map(|(index, mut rule)| {
            rule["name"] = json!(format!("rule-{index}"));
            rule
        })
        .collect()
}

fn runtime() -> impl Strategy<Value = Value> {
    (
        some(&CLASSES).prop_shuffle(),
        select(&["Deny", "Allow"][..]),
        word(&["Fixed", "PlatformAssigned"]),
        word(&["Disabled", "Preferred", "Required"]),
        word(&["None", "GVisor"]),
    )
        .prop_map(|(classes, reachability, user, namespaces, kernel)| {
            let mut runtime = json!({"runtimeClassNames": classes, "nodeAccess": reachability});
            add(
                &mut runtime,
                [
                    ("runAsUser", user),
                    ("userNamespaces", namespaces),
                    ("kernelCheck", kernel),
                ],
            );
            runtime
        })
}

fn amounts() -> impl Strategy<Value = Value> {
    let amount = |of: &'static [&'static str]| option::of(select(of));
    (
        amount(&["1", "2500m", "8"]),
        amount(&["512Mi", "1Gi", "10G"]),
        amount(&["1Gi", "20Gi"]),
    )
        .prop_map(|(cpu, memory, storage)| {
            let pairs = [("cpu", cpu), ("memory", memory), ("ephemeral-storage", storage)];
            pairs
                .into_iter()
                .filter_map(|(name, amount)| Some((name.to_owned(), json!(amount?))))
                .collect::<Map<_, _>>()
                .into()
        })
}

type Field = (&'static str, Option<Value>);

fn object(fields: impl IntoIterator<Item = Field>) -> Value {
    fields
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect::<Map<_, _>>()
        .into()
}

fn seconds() -> impl Strategy<Value = Option<Value>> {
    option::of((1..5000_i32).prop_map(|seconds| json!(seconds)))
}

fn evidence() -> impl Strategy<Value = Value> {
    let days = || option::of((1..2000_i32).prop_map(|days| json!(days)));
    (word(&["Continue", "Continue", "Stop"]), days(), days()).prop_map(|(word, records, patches)| {
        object([
            ("onSinkFailure", word),
            ("keepRecordsDays", records),
            ("keepPatchesDays", patches),
        ])
    })
}

/// Limits in which each field is absent about as often as not, those without which hardly a run is admitted more seldom.
pub fn limits() -> impl Strategy<Value = Value> {
    let granted = (
        option::weighted(0.8, runtime().boxed()),
        option::weighted(0.8, images().boxed()),
        option::weighted(0.7, repositories().boxed()),
        option::of(egress().boxed()),
        option::of(amounts().boxed()),
    );
    let others = (
        seconds(),
        seconds(),
        seconds(),
        option::of((1..4_i32).prop_map(|runs| json!(runs))),
        option::of((1..4_i64).prop_map(|bytes| json!(bytes << 30))),
        word(&["Never", "BeforeAgentStart"]),
        word(&["Optional", "Optional", "Optional", "Required"]),
        option::weighted(
            0.8,
            select(&["Allow", "Allow", "Allow", "Allow", "Allow", "Deny"][..]).prop_map(|word| json!(word)),
        ),
        option::of(evidence()),
    );
    (granted.boxed(), others.boxed()).prop_map(
        |(
            (runtime, images, repositories, egress, resources),
            (start, timeout, ttl, running, clone_bytes, retry, requester, tunnels, evidence),
        )| {
            object([
                ("runtime", runtime),
                ("images", images),
                ("repositories", repositories),
                ("egress", egress),
                ("tunnels", tunnels),
                ("evidence", evidence),
                ("maxResources", resources),
                ("maxStartDeadlineSeconds", start),
                ("maxActiveDeadlineSeconds", timeout),
                ("maxTTLSecondsAfterFinished", ttl),
                ("maxRunning", running),
                ("maxCloneBytes", clone_bytes),
                ("retry", retry),
                ("requester", requester),
            ])
        },
    )
}

/// Limits with an opinion on every dimension that must be granted.
pub fn full_limits() -> impl Strategy<Value = Value> {
    (
        limits().boxed(),
        runtime().boxed(),
        images().boxed(),
        repositories().boxed(),
        egress().boxed(),
        select(&["Fixed", "PlatformAssigned"][..]),
        select(&["Never", "BeforeAgentStart"][..]),
    )
        .prop_map(
            |(mut limits, mut runtime, images, repositories, egress, user, retry)| {
                runtime["runAsUser"] = json!(user);
                for (field, value) in [
                    ("runtime", runtime),
                    ("images", images),
                    ("repositories", repositories),
                    ("egress", egress),
                    ("retry", json!(retry)),
                ] {
                    limits[field] = value;
                }
                limits
            },
        )
}

/// What a run asks to reach; it may name what no policy grants.
pub fn egress_ask() -> impl Strategy<Value = Value> {
    let rule = (some(&HOST_PATTERNS), subsequence(&PORTS[..], 1..=3))
        .prop_map(|(hosts, ports)| json!({"hosts": hosts, "ports": ports}));
    listed(
        "rules",
        vec(rule, 1..3).prop_map(|rules| named(rules.into_iter())),
    )
}

fn run_spec() -> impl Strategy<Value = Value> {
    let resources = option::weighted(0.3, amounts().prop_map(|limits| json!({"limits": limits})));
    let seconds = || option::weighted(0.3, (1..5000_i32).prop_map(|seconds| json!(seconds)));
    (
        select(&IMAGES[..]),
        btree_set(select(&REPOSITORIES[..]), 0..3),
        resources,
        (seconds(), seconds(), seconds()),
        option::weighted(0.3, egress_ask().boxed()),
        option::weighted(0.7, Just(json!({"username": "ada", "groups": ["makers"]}))),
    )
        .prop_map(
            |(image, urls, resources, (start, timeout, ttl), egress, requester)| {
                let repositories: Value = named(urls.into_iter().map(|url| json!({"url": url})));
                object([
                    ("task", Some(json!({"prompt": "x"}))),
                    ("agent", Some(json!({"image": image}))),
                    ("repositories", Some(repositories)),
                    ("resources", resources),
                    ("egress", egress),
                    ("requestedBy", requester),
                    ("startDeadlineSeconds", start),
                    ("activeDeadlineSeconds", timeout),
                    ("ttlSecondsAfterFinished", ttl),
                ])
            },
        )
}

/// Up to three cluster policies over a namespace's policy with `own` limits.
pub fn worlds(own: impl Strategy<Value = Value> + 'static) -> impl Strategy<Value = World> {
    let parts = (
        run_spec().boxed(),
        own.boxed(),
        vec(limits().boxed(), 0..4),
        reports().boxed(),
    );
    parts.prop_map(|(spec, own, cluster, reports)| {
        let mut world = World::admitting();
        world.reports = reports;
        world.run["spec"] = spec;
        world.policy.as_mut().unwrap()["spec"]["limits"] = own;
        world.cluster = cluster
            .into_iter()
            .enumerate()
            .map(|(index, limits)| cluster_policy(&format!("layer-{index}"), &limits))
            .collect();
        world
    })
}
