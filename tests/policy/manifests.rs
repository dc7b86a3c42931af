//! Anything that could stand in a manifest, through everything that is pure: read, evaluation, told. 100,000 manifests,
//! each good but for one to three places, in which stands what a schema, a parser or a terminal could trip over.

use std::time::{Duration, Instant};

use cofferdam_api::{AgentRun, ClusterSandboxPolicy, Reason, SandboxPolicy};
use cofferdam_policy::decide::{Refusal, Request, evaluate};
use cofferdam_policy::dimension::runtime::RuntimeClassFact;
use rstest::rstest;
use serde_json::{Value, json};

use crate::fixtures::World;

/// Manifests of each of the four parts, which run side by side.
const PART: u64 = 25_000;
/// Longest that any of them may take, on a machine that does other things too.
const TIME: Duration = Duration::from_secs(5);

/// A seed and a sequence from it (`SplitMix64`): the number of a case is enough to see it again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % u64::try_from(sides).unwrap()).unwrap()
    }

    fn of<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }
}

/// Texts that hide, reorder, combine, escape, or look like something else.
const TEXTS: &[&str] = &[
    "",
    " ",
    "\0",
    "\n",
    "\u{1b}[2J\u{1b}]0;x\u{7}",
    "\u{202e}gpj.exe",
    "\u{200b}",
    "\u{feff}",
    "\u{e0041}",
    "\u{61c}",
    "e\u{301}\u{301}\u{301}",
    "ﬁ",
    "İ",
    "ß",
    "gıthub.com",
    "github。com",
    "\u{d7ff}\u{e000}",
    "\u{10ffff}",
    "👩‍👩‍👧‍👦",
    "%s%n%x",
    "{{.}}",
    "$(id)",
    "`id`",
    "${jndi:ldap://x}",
    "'; drop table",
    "../../etc/passwd",
    "a/../b",
    "//",
    "/",
    "*",
    "**",
    "***",
    "*.*",
    "*.com",
    "*.co.uk",
    "*.example.com",
    "example.com.",
    "EXAMPLE.com",
    "127.0.0.1",
    "0x7f.1",
    "[::1]",
    "::ffff:10.0.0.1",
    "10.0.0.0/33",
    "0.0.0.0/0",
    "::/0",
    "169.254.169.254/32",
    "https://",
    "https://a@b.example/x",
    "https://b.example:0/x",
    "https://b.example:65536/x",
    "https://b.example/%2e%2e/x",
    "git@b.example:x",
    "http://b.example/x",
    "ghcr.io/team-a/*",
    "ghcr.io/team-a/agent:1@sha256:0",
    "ghcr.io/TEAM/x",
    "x@sha256:",
    "sha256:",
    ":latest",
    "a:b:c",
    "localhost:5000/x",
    "-1",
    "0",
    "1e999",
    "1e-999",
    "9223372036854775808",
    "1Ei",
    "0.0000000001n",
    "+1",
    "NaN",
    "0x10",
    "gvisor",
    "default",
    "AllowList",
    "DenyAll",
    "Required",
    "null",
    "true",
];

/// Numbers at the edges of types and of bounds.
const NUMBERS: &[i64] = &[
    i64::MIN,
    -2_147_483_649,
    -2_147_483_648,
    -1,
    0,
    1,
    2,
    63,
    64,
    65,
    443,
    65_535,
    65_536,
    86_400,
    86_401,
    31_536_000,
    2_147_483_647,
    2_147_483_648,
    i64::MAX,
];

/// Lengths at the bounds of the schema: names, labels, hosts, patterns, environments, prompts.
const LENGTHS: &[usize] = &[
    62, 63, 64, 127, 128, 252, 253, 254, 511, 512, 513, 2047, 2048, 2049,
];
const LETTERS: &[char] = &[
    'a',
    'A',
    '-',
    '.',
    '/',
    '*',
    ':',
    '@',
    '%',
    '\u{0}',
    '\u{202e}',
    'é',
    '\u{10ffff}',
];
/// Sizes of lists: one more than any list may have, too.
const SIZES: &[usize] = &[0, 1, 2, 8, 63, 64, 65];

fn text(dice: &mut Dice) -> String {
    match dice.below(3) {
        0 => dice.of(LETTERS).to_string().repeat(*dice.of(LENGTHS)),
        1 => (0..dice.below(40)).map(|_| *dice.of(LETTERS)).collect(),
        _ => (*dice.of(TEXTS)).to_owned(),
    }
}

/// Changes the value in one place, in keeping with its type more often than not.
fn mutate(value: &mut Value, dice: &mut Dice) {
    let fate = dice.below(12);
    *value = match std::mem::take(value) {
        Value::String(old) => match fate {
            0 => json!(format!("{old}{}", text(dice))),
            1 => json!(format!("{}{old}", text(dice))),
            2 => json!(old.to_uppercase()),
            3 => json!(old.replacen('/', "//", 1)),
            4 => odd(dice),
            _ => json!(text(dice)),
        },
        Value::Array(items) => match fate {
            0 => odd(dice),
            1 => json!([]),
            2 => items.into_iter().rev().collect(),
            _ => sized(&items, *dice.of(SIZES), dice),
        },
        Value::Object(mut fields) => match fate {
            0 => odd(dice),
            1 => json!({}),
            2 => {
                fields.insert(text(dice), json!(text(dice)));
                fields.into()
            }
            _ => {
                let names: Vec<String> = fields.keys().cloned().collect();
                if !names.is_empty() {
                    fields.remove(dice.of(&names));
                }
                fields.into()
            }
        },
        _ => match fate {
            0 => odd(dice),
            _ => json!(dice.of(NUMBERS)),
        },
    };
}

/// A list of this size of the items of another, the further ones renamed.
fn sized(items: &[Value], size: usize, dice: &mut Dice) -> Value {
    let item = |index: usize| {
        let mut item = items
            .get(index % items.len().max(1))
            .cloned()
            .unwrap_or_else(|| json!(text(dice)));
        if index >= items.len()
            && let Some(name) = item.get_mut("name")
        {
            *name = json!(format!("n{index}"));
        }
        item
    };
    (0..size).map(item).collect()
}

/// A value of any type.
fn odd(dice: &mut Dice) -> Value {
    match dice.below(6) {
        0 => Value::Null,
        1 => json!(dice.below(2) == 0),
        2 => json!(dice.of(NUMBERS)),
        3 => json!([text(dice)]),
        4 => json!({text(dice): text(dice)}),
        _ => json!(text(dice)),
    }
}

/// Every place in a manifest, as pointers, below its spec and its name.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let at = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
                found.push(at.clone());
                places(value, &at, found);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                let at = format!("{at}/{index}");
                found.push(at.clone());
                places(value, &at, found);
            }
        }
        _ => {}
    }
}

/// The manifests that are good, with what they are decided with, and every place in them.
struct Good {
    manifests: [Value; 3],
    places: [Vec<String>; 3],
    world: World,
    classes: Vec<RuntimeClassFact>,
}

impl Good {
    fn new() -> Self {
        let mut world = World::admitting()
            .run("egress", json!({"mode": "AllowList", "rules": [{"name": "a", "hosts": ["model.example.org"], "ports": [443]}]}))
            .run("resources", json!({"requests": {"cpu": "500m"}, "limits": {"cpu": "2", "memory": "4Gi"}}))
            .run("startDeadlineSeconds", json!(300))
            .run("activeDeadlineSeconds", json!(1800))
            .run("ttlSecondsAfterFinished", json!(60))
            .run("schedulingProfileName", json!("fast"))
            .run("requestedBy", json!({"username": "ada", "groups": ["makers"]}))
            .policy("maxRunning", json!(4))
            .policy("maxTTLSecondsAfterFinished", json!(3600))
            .policy("retry", json!("BeforeAgentStart"))
            .policy("requester", json!("Required"))
            .policy("maxResources", json!({"cpu": "4", "memory": "16Gi", "ephemeral-storage": "50Gi"}))
            .defaults("resources", json!({"limits": {"memory": "2Gi"}}))
            .defaults("activeDeadlineSeconds", json!(1000));
        world.policy.as_mut().unwrap()["spec"]["schedulingProfiles"] =
            json!([{"name": "fast", "nodeSelector": {"pool": "fast"}}]);
        let manifests = [
            world.run.clone(),
            world.policy.clone().unwrap(),
            world.cluster[0].clone(),
        ];
        let places = [0, 1, 2].map(|which| {
            let mut found = vec!["/metadata/name".to_owned(), "/spec".to_owned()];
            places(&manifests[which]["spec"], "/spec", &mut found);
            found
        });
        let classes = world.class_facts();
        Self {
            manifests,
            places,
            world,
            classes,
        }
    }

    /// The manifests of one case, and which of the three was changed.
    fn changed(&self, dice: &mut Dice) -> ([Value; 3], usize) {
        let mut manifests = self.manifests.clone();
        let which = dice.below(3);
        for _ in 0..=dice.below(3) {
            let place = dice.of(&self.places[which]);
            if let Some(value) = manifests[which].pointer_mut(place) {
                mutate(value, dice);
            }
        }
        (manifests, which)
    }

    /// What is decided about manifests; nothing if their types do not even hold them.
    fn decide(&self, [run, policy, cluster]: &[Value; 3]) -> Option<Result<(), Refusal>> {
        use serde::Deserialize as _;
        let run = AgentRun::deserialize(run).ok()?;
        let policy = SandboxPolicy::deserialize(policy).ok()?;
        let cluster = [ClusterSandboxPolicy::deserialize(cluster).ok()?];
        let evaluation = evaluate(&Request {
            namespace_labels: &self.world.labels,
            run: &run,
            policy: Some(&policy),
            cluster_policies: &cluster,
            runtime_classes: &self.classes,
            reports: &self.world.reports,
            credentials: &self.world.credentials,
        });
        Some(evaluation.and_then(|evaluation| {
            assert!(!evaluation.findings().is_empty());
            evaluation.admit().map(drop)
        }))
    }
}

/// What is wrong with a refusal as users get it.
fn flaw(refusal: &Refusal, changed: usize) -> Option<&'static str> {
    let message = refusal.message();
    let is_odd = |c: char| {
        c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{feff}')
    };
    // Nothing is a layer's where there is no policy, where every policy is silent, or where the cluster lacks a class;
    // and what the run itself spells wrongly, or asks beyond a built-in bound, stands in its own field.
    let no_layer = matches!(refusal.reason, Reason::PolicyMissing | Reason::RuntimeUnavailable)
        || refusal.why.starts_with("no policy in force")
        || (changed == 0 && refusal.field.starts_with("spec."));
    match () {
        () if message.len() > 1000 => Some("its message is too long"),
        () if message.contains(is_odd) => Some("its message has control or invisible characters"),
        () if refusal.field.is_empty() || refusal.why.is_empty() || refusal.help.is_empty() => {
            Some("it says too little")
        }
        () if refusal.layer.is_none() && !no_layer => Some("it names no layer"),
        () => None,
    }
}

#[rstest]
#[case(0)]
#[case(1)]
#[case(2)]
#[case(3)]
fn anything_is_decided_and_told_in_bounded_time(#[case] part: u64) {
    let good = Good::new();
    assert_eq!(good.decide(&good.manifests), Some(Ok(())), "the control");
    let [mut unread, mut admitted, mut refused] = [0, 0, 0];
    for case in part * PART..(part + 1) * PART {
        let (manifests, changed) = good.changed(&mut Dice(case));
        let start = Instant::now();
        match good.decide(&manifests) {
            None => unread += 1,
            Some(Ok(())) => admitted += 1,
            Some(Err(refusal)) => {
                refused += 1;
                let flaw = flaw(&refusal, changed);
                assert_eq!(flaw, None, "case {case}: {:?}", refusal.message());
            }
        }
        assert!(start.elapsed() < TIME, "case {case} took {:?}", start.elapsed());
    }
    // Positive control: the cases are not all of one kind.
    let counts = [unread, admitted, refused];
    assert!(
        counts.iter().all(|count| *count >= PART / 20),
        "unread, admitted, refused: {counts:?}"
    );
}
