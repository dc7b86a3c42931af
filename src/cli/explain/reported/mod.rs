//! Manifests that made other tools, or this one, answer otherwise than kubectl and the API server do: each kind out of public
//! bug reports, with more of its kind. A fault of the run is a refusal, one of the policy that cannot be read tells nothing.

mod naming;
mod spelling;
mod yaml;

use super::document::Answer::{self, Allowed, CannotTell, Refused};
use super::*;
use crate::print::paint::Paint;

const POLICY: &str = "apiVersion: cofferdam.dev/v1alpha1
kind: SandboxPolicy
metadata:
  name: default
  namespace: team-a
spec:
  limits:
    runtime:
      runtimeClassNames: [gvisor]
    images:
      mode: AllowList
      allowed:
        - registry.example.com/**
    repositories:
      mode: AllowList
      clone:
        - name: forge
          url: https://git.example.com/**
    egress:
      mode: AllowList
      rules:
        - name: model
          hosts: [api.example.com]
";

const RUN: &str = "apiVersion: cofferdam.dev/v1alpha1
kind: AgentRun
metadata:
  name: tidy
  namespace: team-a
spec:
  task:
    prompt: Tidy the imports.
  agent:
    image: registry.example.com/agents/tidy:1.0
  repositories:
    - name: shop
      url: https://git.example.com/team/shop
      access: ReadWrite
";

const IMAGE: &str = "image: registry.example.com/agents/tidy:1.0";

fn edit(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from}");
    text.replacen(from, to, 1)
}

/// The answer, and all that is said.
fn explained(run: &str, policies: &str) -> (Answer, String) {
    let read =
        files::run("run.yaml", run).and_then(|run| Ok((run, files::policies("policy.yaml", policies)?)));
    let explanation = match read {
        Ok((run, policies)) => judged_on_files(&run, &policies, &Given::default()),
        Err(stop) => stopped(None, FactsFrom::Files, stop),
    };
    (explanation.verdict, text::render(&explanation, Paint::Plain))
}

/// Each of `cases` gets its answer in its words; `spell` makes run and policies of it.
fn check(cases: &[(&str, Answer, &str)], spell: impl Fn(&str) -> (String, String)) {
    let mut wrong = Vec::new();
    for (spelt, answer, words) in cases {
        let (run, policies) = spell(spelt);
        let (seen, said) = explained(&run, &policies);
        if seen != *answer || !said.contains(words) {
            wrong.push(format!("{spelt}: {answer:?} ({words}) was wanted\n{said}"));
        }
    }
    assert!(wrong.is_empty(), "{} wrong\n{}", wrong.len(), wrong.join("\n"));
}

fn check_files(cases: &[(&str, &str, Answer, &str)]) {
    let mut wrong = Vec::new();
    for (what, run, answer, words) in cases {
        let (seen, said) = explained(run, POLICY);
        if seen != *answer || !said.contains(words) {
            wrong.push(format!("{what}: {answer:?} ({words}) was wanted\n{said}"));
        }
    }
    assert!(wrong.is_empty(), "{} wrong\n{}", wrong.len(), wrong.join("\n"));
}

fn run_with(from: &'static str, to: &'static str) -> impl Fn(&str) -> (String, String) {
    move |spelt| (edit(RUN, from, &to.replace('@', spelt)), POLICY.to_owned())
}

fn policy_with(from: &'static str, to: &'static str) -> impl Fn(&str) -> (String, String) {
    move |spelt| (RUN.to_owned(), edit(POLICY, from, &to.replace('@', spelt)))
}

#[test]
fn the_manifests_by_themselves_are_allowed() {
    assert_eq!(explained(RUN, POLICY).0, Allowed);
}
