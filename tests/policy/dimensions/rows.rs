//! The rows of the table, and what a decision shows of each.

use cofferdam_policy::decide::{Admitted, Refusal};
use cofferdam_policy::dimension::requests::Request;
use cofferdam_policy::pattern::path::Target;
use serde_json::{Value, json};

use super::scanned::of_scanners;
use crate::fixtures::{World, credential};

/// First cell of a dimension that the namespace's own policy cannot grant.
pub const CLUSTER_ALONE: &str = "`ClusterSandboxPolicies` alone";

/// What a decision shows of a dimension.
type Probe = fn(&World) -> String;

/// One row, and two words that a layer can say of it: what comes of each alone, and of both the stricter's.
pub struct Dimension {
    /// First cell of the row.
    pub row: &'static str,
    /// What the further cells must contain: who may grant, silence, how two layers meet, the default.
    pub cells: [&'static str; 4],
    /// Fields of `limits` that the row speaks of.
    pub fields: Vec<&'static str>,
    /// Top-level field of `limits` in which `field` stands; empty: the word is all of it.
    pub object: &'static str,
    pub field: &'static str,
    pub loose: Value,
    pub strict: Value,
    /// What comes of silence, of the loose word, of the strict one.
    pub outcomes: [&'static str; 3],
    pub probe: Probe,
}

/// Every row but that of `schedulingProfiles`, which no two layers meet on.
pub fn dimensions() -> Vec<Dimension> {
    let modes = of_runtime()
        .into_iter()
        .chain(of_modes())
        .chain(of_images())
        .chain(of_scanners());
    modes
        .chain(of_lists())
        .chain(of_services())
        .chain([of_tunnels(), of_sink()])
        .chain(of_days())
        .chain(of_requests())
        .chain(of_resources())
        .chain(of_numbers())
        .collect()
}

/// A dimension of two words, which stands at `field` of `object`.
fn mode(
    row: &'static str,
    cells: [&'static str; 4],
    (object, field): (&'static str, &'static str),
    [loose, strict]: [&'static str; 2],
    outcomes: [&'static str; 3],
    probe: Probe,
) -> Dimension {
    Dimension {
        row,
        cells,
        fields: vec![row],
        object,
        field,
        loose: json!(loose),
        strict: json!(strict),
        outcomes,
        probe,
    }
}

fn of_runtime() -> Vec<Dimension> {
    vec![
        Dimension {
            row: "runtime.runtimeClassNames",
            cells: [
                "any layer",
                "refused, `PolicyDenied`",
                "both list",
                "not settable",
            ],
            fields: vec!["runtime.runtimeClassNames"],
            object: "runtime",
            field: "runtimeClassNames",
            loose: json!(["gvisor", "kata"]),
            strict: json!(["kata"]),
            outcomes: ["PolicyDenied", "gvisor", "kata"],
            probe: |world| told(world, |run| run.runtime_class.clone()),
        },
        mode(
            "runtime.nodeAccess",
            [
                "every layer with a `runtime`",
                "`Deny`",
                "`Allow` only if all",
                "not settable",
            ],
            ("runtime", "nodeAccess"),
            ["Allow", "Deny"],
            ["Deny", "Allow", "Deny"],
            |world| told(world, |run| format!("{:?}", run.node_access)),
        ),
        mode(
            "runtime.runAsUser",
            [
                "every layer that has it",
                "`Fixed`",
                "`PlatformAssigned` only if all",
                "not settable",
            ],
            ("runtime", "runAsUser"),
            ["PlatformAssigned", "Fixed"],
            ["Fixed", "PlatformAssigned", "Fixed"],
            |world| told(world, |run| format!("{:?}", run.run_as_user)),
        ),
        mode(
            "runtime.userNamespaces",
            ["any layer", "`Disabled`", "else the stricter", "not settable"],
            ("runtime", "userNamespaces"),
            ["Preferred", "Disabled"],
            ["false", "true", "false"],
            |world| told(world, |run| run.user_namespace.to_string()),
        ),
        mode(
            "runtime.kernelCheck",
            ["–", "`None`", "`GVisor` if one", "not settable"],
            ("runtime", "kernelCheck"),
            ["None", "GVisor"],
            ["None", "None", "GVisor"],
            |world| told(world, |run| format!("{:?}", run.kernel_check)),
        ),
    ]
}

fn of_modes() -> Vec<Dimension> {
    vec![
        mode(
            "images.digest",
            ["–", "`Record`", "`Required` if one", "not settable"],
            ("images", "digest"),
            ["Record", "Required"],
            ["admitted", "admitted", "ImageDenied"],
            is_admitted,
        ),
        mode(
            "images.pullPolicy",
            [
                "any layer",
                "Kubernetes' own rule",
                "`Always` if one",
                "not settable",
            ],
            ("images", "pullPolicy"),
            ["IfNotPresent", "Always"],
            ["None", "Some(IfNotPresent)", "Some(Always)"],
            |world| told(world, |run| format!("{:?}", run.pull_policy)),
        ),
        mode(
            "retry",
            [
                "every layer that has it",
                "`Never`",
                "`BeforeAgentStart` only if all",
                "not settable",
            ],
            ("retry", ""),
            ["BeforeAgentStart", "Never"],
            ["Never", "BeforeAgentStart", "Never"],
            |world| told(world, |run| format!("{:?}", run.retry)),
        ),
        mode(
            "requester",
            ["–", "`Optional`", "`Required` if one", "not settable"],
            ("requester", ""),
            ["Optional", "Required"],
            ["admitted", "admitted", "PolicyDenied"],
            is_admitted,
        ),
    ]
}

fn of_images() -> Vec<Dimension> {
    let allow = |allowed: &[&str]| json!({"mode": "AllowList", "allowed": allowed});
    vec![Dimension {
        row: "images",
        cells: [
            "any layer",
            "refused, `ImageDenied`",
            "a pattern of each",
            "always asked for",
        ],
        fields: vec!["images.mode", "images.allowed"],
        object: "images",
        field: "",
        loose: allow(&["ghcr.io/team-a/*"]),
        strict: allow(&["ghcr.io/team-a/another"]),
        outcomes: ["ImageDenied", "admitted", "ImageDenied"],
        probe: is_admitted,
    }]
}

fn of_lists() -> Vec<Dimension> {
    let read = |url: &str| json!({"mode": "AllowList", "clone": [{"name": "a", "url": url}]});
    let hosts = |hosts: &[&str], addresses: &[&str]| json!({"mode": "AllowList", "rules": [{"name": "a", "hosts": hosts, "addresses": addresses}]});
    vec![
        Dimension {
            row: "repositories.clone",
            cells: [
                "any layer",
                "refused, `PolicyDenied`",
                "a rule of each",
                "none are cloned",
            ],
            fields: vec![
                "repositories.mode",
                "repositories.clone.url",
                "repositories.clone.addresses",
                "repositories.clone.credential",
            ],
            object: "repositories",
            field: "",
            loose: read("https://github.com/team-a/*"),
            strict: read("https://github.com/team-a/another"),
            outcomes: ["PolicyDenied", "admitted", "PolicyDenied"],
            probe: is_admitted,
        },
        Dimension {
            row: "egress",
            cells: [
                "any layer",
                "nothing can be reached",
                "a rule of each",
                "together",
            ],
            fields: vec![
                "egress.mode",
                "egress.rules.preset",
                "egress.rules.hosts",
                "egress.rules.ports",
            ],
            object: "egress",
            field: "",
            loose: hosts(&["a.example.com", "b.example.com"], &[]),
            strict: hosts(&["b.example.com"], &[]),
            outcomes: ["", "a.example.com b.example.com", "b.example.com"],
            probe: |world| {
                told(world, |run| {
                    reached(run, &["a.example.com", "b.example.com", "c.example.com"])
                })
            },
        },
        Dimension {
            row: "addresses",
            cells: [
                "every layer that allows the host",
                "refused",
                "a network of each",
                "–",
            ],
            fields: vec!["egress.rules.addresses"],
            object: "egress",
            field: "",
            loose: hosts(&["a.example.com"], &["10.0.0.0/8"]),
            strict: hosts(&["a.example.com"], &["10.1.0.0/16"]),
            outcomes: ["", "10.1.2.3 10.2.0.1", "10.1.2.3"],
            probe: |world| {
                told(world, |run| {
                    dialled(run, "a.example.com", &["10.1.2.3", "10.2.0.1", "192.168.0.1"])
                })
            },
        },
    ]
}

/// Of these Services, those that the run reaches; of one, whether its credential goes there in clear text.
fn of_services() -> Vec<Dimension> {
    const CLEAR: &str = "one in clear text";
    let rule = |services: &[&str], more: &Value| {
        let services = services
            .iter()
            .map(|name| json!({"namespace": "models", "name": name, "port": 4000}));
        let mut rule = json!({"name": "a", "services": services.collect::<Vec<_>>(), "methods": ["GET"], "paths": ["/**"]});
        for (field, value) in more.as_object().into_iter().flatten() {
            rule[field] = value.clone();
        }
        json!({"mode": "AllowList", "rules": [rule]})
    };
    let clear = |word: &str| {
        rule(
            &["one"],
            &json!({"credential": "one", "credentialInClearText": word}),
        )
    };
    vec![
        Dimension {
            row: "services",
            cells: [
                CLUSTER_ALONE,
                "no Service is reached",
                "a rule of each",
                "together",
            ],
            fields: vec!["egress.rules.services.namespace", "egress.rules.services.port"],
            object: "egress",
            field: "",
            loose: rule(&["one", "two"], &Value::Null),
            strict: json!({"mode": "DenyAll"}),
            outcomes: ["", "one.models.svc two.models.svc", ""],
            probe: |world| {
                let all = ["one.models.svc", "two.models.svc", "three.models.svc"];
                let reached = |run: Admitted| {
                    let is_reached =
                        |host: &&&str| run.frozen.agent_route(&host.parse().unwrap(), 4000).is_allowed();
                    all.iter()
                        .filter(is_reached)
                        .copied()
                        .collect::<Vec<_>>()
                        .join(" ")
                };
                // The namespace's own word is a mistake where it grants alone.
                world.decide().map(reached).unwrap_or_default()
            },
        },
        Dimension {
            row: "credentialInClearText",
            cells: [
                CLUSTER_ALONE,
                "over TLS alone",
                "`Allow` only if every `ClusterSandboxPolicy`",
                "–",
            ],
            fields: vec!["egress.rules.credentialInClearText"],
            object: "egress",
            field: "",
            loose: clear("Allow"),
            strict: clear("Deny"),
            outcomes: ["", CLEAR, ""],
            probe: |world| {
                let mut world = world.clone();
                world.credentials = vec![credential("one", &["one.models.svc"])];
                let sent = |run: Admitted| {
                    let route = run.frozen.agent_route(&"one.models.svc".parse().unwrap(), 4000);
                    let request = Request {
                        method: "GET".parse().unwrap(),
                        target: Target::parse("/v1/models").unwrap(),
                    };
                    let permitted = route.into_result().ok()?.permit(request).into_result().ok()?;
                    let in_clear_text = permitted.in_clear_text().into_result().ok()?;
                    Some(format!("{} in clear text", in_clear_text.credential()?))
                };
                world.decide().ok().and_then(sent).unwrap_or_default()
            },
        },
    ]
}

fn of_tunnels() -> Dimension {
    Dimension {
        row: "tunnels",
        cells: [
            CLUSTER_ALONE,
            "`Deny`",
            "`Allow` only if one of them says so and no policy says `Deny`",
            "not settable",
        ],
        fields: vec!["tunnels"],
        object: "tunnels",
        field: "",
        loose: json!("Allow"),
        strict: json!("Deny"),
        outcomes: ["Deny", "Allow", "Deny"],
        probe: |world| format!("{:?}", world.evaluate().unwrap().tunnels.value),
    }
}

fn of_sink() -> Dimension {
    Dimension {
        row: "evidence.onSinkFailure",
        cells: [
            CLUSTER_ALONE,
            "`Stop`",
            "`Continue` only if one of them says so and no policy says `Stop`",
            "not settable",
        ],
        fields: vec!["evidence.onSinkFailure"],
        object: "evidence",
        field: "onSinkFailure",
        loose: json!("Continue"),
        strict: json!("Stop"),
        outcomes: ["false", "true", "false"],
        probe: |world| told(world, |run| run.frozen.continues_without_evidence().to_string()),
    }
}

fn of_days() -> Vec<Dimension> {
    let days = |row: &'static str, field: &'static str, silence: &'static str, probe: Probe| Dimension {
        row,
        cells: ["–", silence, "the most", "not settable"],
        fields: vec![row],
        object: "evidence",
        field,
        loose: json!(30),
        strict: json!(400),
        outcomes: ["None", "Some(30)", "Some(400)"],
        probe,
    };
    vec![
        days(
            "evidence.keepRecordsDays",
            "keepRecordsDays",
            "`evidence.retentionDays`",
            |world| {
                told(world, |run| {
                    format!(
                        "{:?}",
                        run.evidence.and_then(|evidence| evidence.keep_records_days)
                    )
                })
            },
        ),
        days(
            "evidence.keepPatchesDays",
            "keepPatchesDays",
            "`evidence.patchRetentionDays`",
            |world| {
                told(world, |run| {
                    format!(
                        "{:?}",
                        run.evidence.and_then(|evidence| evidence.keep_patches_days)
                    )
                })
            },
        ),
    ]
}

/// What rules say of requests.
fn of_requests() -> Vec<Dimension> {
    let rule = |field: &str, word: Value| {
        let mut rule = json!({"name": "a", "hosts": ["a.example.com"], "tls": "Inspect"});
        rule[field] = word;
        json!({"mode": "AllowList", "rules": [rule]})
    };
    let asked: Probe = |world| {
        told(world, |run| {
            permitted(run, "a.example.com", &["GET /a/b", "POST /a/b", "GET /c"])
        })
    };
    vec![
        Dimension {
            row: "tls",
            cells: [
                "every layer that allows the host",
                "`Inspect`",
                "`Inspect` if one rule",
                "–",
            ],
            fields: vec!["egress.rules.tls"],
            object: "egress",
            field: "",
            loose: rule("tls", json!("Tunnel")),
            strict: rule("tls", json!("Inspect")),
            outcomes: ["", "Tunnel", "Inspect"],
            probe: |world| told(world, |run| treated(run, "a.example.com")),
        },
        Dimension {
            row: "methods",
            cells: [
                "every layer that allows the host",
                "every method",
                "a rule of each",
                "–",
            ],
            fields: vec!["egress.rules.methods"],
            object: "egress",
            field: "",
            loose: rule("methods", json!(["GET", "POST", "PUT"])),
            strict: rule("methods", json!(["GET"])),
            outcomes: [
                "GET /a/b, POST /a/b, GET /c",
                "GET /a/b, POST /a/b, GET /c",
                "GET /a/b, GET /c",
            ],
            probe: asked,
        },
        Dimension {
            row: "paths",
            cells: [
                "every layer that allows the host",
                "every path",
                "a rule of each",
                "–",
            ],
            fields: vec!["egress.rules.paths"],
            object: "egress",
            field: "",
            loose: rule("paths", json!(["/**"])),
            strict: rule("paths", json!(["/a/*"])),
            outcomes: [
                "GET /a/b, POST /a/b, GET /c",
                "GET /a/b, POST /a/b, GET /c",
                "GET /a/b, POST /a/b",
            ],
            probe: asked,
        },
        Dimension {
            row: "credential",
            cells: ["any layer", "none", "the same in all that name one", "–"],
            fields: vec!["egress.rules.credential"],
            object: "egress",
            field: "",
            loose: keyed(&["GET", "POST"]),
            strict: keyed(&["GET"]),
            outcomes: [
                "",
                "GET /a/b one, POST /a/b one, GET /c one",
                "GET /a/b one, GET /c one",
            ],
            probe: |world| {
                told(world, |run| {
                    with_credential(run, "a.example.com", &["GET /a/b", "POST /a/b", "GET /c"])
                })
            },
        },
    ]
}

fn keyed(methods: &[&str]) -> Value {
    json!({"mode": "AllowList", "rules": [
        {"name": "a", "hosts": ["a.example.com"], "methods": methods, "paths": ["/**"], "credential": "one"}]})
}

fn of_resources() -> Vec<Dimension> {
    // Amounts to ask for, the highest first; the second is the built-in ceiling.
    let kinds: [(_, _, _, _, Probe); 3] = [
        (
            "cpu",
            "maxResources.cpu",
            "500m, limit 2",
            ["16", "8", "3"],
            |world| most(world, "cpu", &["17", "16", "8", "3"]),
        ),
        (
            "memory",
            "maxResources.memory",
            "1Gi, limit 4Gi",
            ["64Gi", "20Gi", "5Gi"],
            |world| most(world, "memory", &["65Gi", "64Gi", "20Gi", "5Gi"]),
        ),
        (
            "ephemeral-storage",
            "maxResources.ephemeral-storage",
            "2Gi, limit 10Gi",
            ["100Gi", "40Gi", "11Gi"],
            |world| most(world, "ephemeral-storage", &["101Gi", "100Gi", "40Gi", "11Gi"]),
        ),
    ];
    let row = |(kind, row, default, outcomes, probe): (&'static str, _, _, [&'static str; 3], _)| Dimension {
        row,
        cells: ["–", outcomes[0], "the lowest", default],
        fields: vec!["maxResources"],
        object: "maxResources",
        field: "",
        loose: json!({kind: outcomes[1]}),
        strict: json!({kind: outcomes[2]}),
        outcomes,
        probe,
    };
    kinds.into_iter().map(row).collect()
}

fn of_numbers() -> Vec<Dimension> {
    let number = |row, default, outcomes: [&'static str; 3], probe| Dimension {
        row,
        cells: ["–", outcomes[0], "the lowest", default],
        fields: vec![row],
        object: row,
        field: "",
        loose: outcomes[1].parse().unwrap(),
        strict: outcomes[2].parse().unwrap(),
        outcomes,
        probe,
    };
    vec![
        number(
            "maxStartDeadlineSeconds",
            "else 600",
            ["86400", "5000", "700"],
            |world| longest(world, "startDeadlineSeconds", &[86_401, 86_400, 5000, 700]),
        ),
        number(
            "maxActiveDeadlineSeconds",
            "else 3600",
            ["86400", "9000", "4000"],
            |world| longest(world, "activeDeadlineSeconds", &[86_401, 86_400, 9000, 4000]),
        ),
        number("maxRunning", "not settable", ["1000", "30", "4"], |world| {
            told(world, |run| run.max_running.value.to_string())
        }),
        number(
            "maxCloneBytes",
            "not settable",
            ["17179869184", "5000000000", "4096"],
            |world| told(world, |run| run.max_clone_bytes.to_string()),
        ),
        number(
            "maxTTLSecondsAfterFinished",
            "else 604800",
            ["31536000", "900000", "700000"],
            |world| {
                longest(
                    world,
                    "ttlSecondsAfterFinished",
                    &[31_536_001, 31_536_000, 900_000, 700_000],
                )
            },
        ),
    ]
}

/// What an admitted run gets, or the reason of its refusal.
pub fn told(world: &World, tell: impl Fn(&Admitted) -> String) -> String {
    match world.decide() {
        Ok(admitted) => tell(&admitted),
        Err(Refusal { reason, .. }) => reason.to_string(),
    }
}

/// What becomes of the run.
pub fn is_admitted(world: &World) -> String {
    told(world, |_| "admitted".to_owned())
}

fn reached(run: &Admitted, hosts: &[&str]) -> String {
    let allowed = |host: &&&str| run.frozen.agent_route(&host.parse().unwrap(), 443).is_allowed();
    hosts
        .iter()
        .filter(allowed)
        .copied()
        .collect::<Vec<_>>()
        .join(" ")
}

fn dialled(run: &Admitted, host: &str, addresses: &[&str]) -> String {
    let route = run.frozen.agent_route(&host.parse().unwrap(), 443);
    let route = route.into_result().ok();
    let permitted = |address: &&&str| {
        route
            .as_ref()
            .is_some_and(|route| route.permits_address(address.parse().unwrap()))
    };
    addresses
        .iter()
        .filter(permitted)
        .copied()
        .collect::<Vec<_>>()
        .join(" ")
}

fn treated(run: &Admitted, host: &str) -> String {
    let route = run.frozen.agent_route(&host.parse().unwrap(), 443).into_result();
    route.map_or_else(|_| String::new(), |route| format!("{:?}", route.tls()))
}

fn permitted(run: &Admitted, host: &str, requests: &[&str]) -> String {
    let route = run
        .frozen
        .agent_route(&host.parse().unwrap(), 443)
        .into_result()
        .unwrap();
    let is_permitted = |request: &&&str| {
        let (method, target) = request.split_once(' ').unwrap();
        let request = Request {
            method: method.parse().unwrap(),
            target: Target::parse(target).unwrap(),
        };
        route.permit(request).is_allowed()
    };
    requests
        .iter()
        .filter(is_permitted)
        .copied()
        .collect::<Vec<_>>()
        .join(", ")
}

/// The requests that get a credential, each with its name.
fn with_credential(run: &Admitted, host: &str, requests: &[&str]) -> String {
    let route = run
        .frozen
        .agent_route(&host.parse().unwrap(), 443)
        .into_result()
        .unwrap();
    let got = |request: &&str| {
        let (method, target) = request.split_once(' ').unwrap();
        let asked = Request {
            method: method.parse().unwrap(),
            target: Target::parse(target).unwrap(),
        };
        let permitted = route.permit(asked).into_result().ok()?;
        permitted.credential().map(|name| format!("{request} {name}"))
    };
    requests.iter().filter_map(got).collect::<Vec<_>>().join(", ")
}

/// The first of the amounts that a run may ask for.
fn most(world: &World, kind: &str, amounts: &[&str]) -> String {
    let may = |amount: &&&str| {
        let ask = json!({"limits": {kind: amount}});
        world.clone().run("resources", ask).decide().is_ok()
    };
    amounts.iter().find(may).copied().unwrap_or_default().to_owned()
}

fn longest(world: &World, field: &str, seconds: &[i64]) -> String {
    let may = |seconds: &&i64| world.clone().run(field, json!(seconds)).decide().is_ok();
    seconds.iter().find(may).map(i64::to_string).unwrap_or_default()
}
