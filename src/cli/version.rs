//! `version`: of this program, and of what the cluster serves.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::failure::{Exit, Failure};
use crate::place::{Flags, Patience};
use crate::print::{self, Format};

/// How to write it.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Only of this program.
    #[arg(long)]
    client: bool,
    /// json, yaml or jsonpath=TEMPLATE.
    #[arg(short, long)]
    output: Option<Format>,
}

/// Groups of the API, and what of this program stands on each.
const GROUPS: [(&str, &str); 2] = [
    ("cofferdam.dev", "runs and policies"),
    ("output.cofferdam.dev", "patches, records"),
];

/// Says it.
///
/// # Errors
/// The cluster cannot be asked.
pub async fn main(args: &Args, flags: &Flags) -> Result<Exit, Failure> {
    let mut document = json!({"client": env!("CARGO_PKG_VERSION")});
    if !args.client {
        let cluster = flags.connect(Patience::Answer).await?;
        let kubernetes = cluster
            .client
            .apiserver_version()
            .await
            .map_err(|error| Failure::api("the version of the API server", &error))?;
        let groups = cluster
            .client
            .list_api_groups()
            .await
            .map_err(|error| Failure::api("the groups of the API", &error))?;
        let served = |name: &str| {
            let group = groups.groups.iter().find(|group| group.name == name);
            group.map(|group| {
                group
                    .versions
                    .iter()
                    .map(|version| version.version.clone())
                    .collect::<Vec<_>>()
            })
        };
        let served: serde_json::Map<String, Value> = GROUPS
            .iter()
            .map(|(name, _)| ((*name).to_owned(), json!(served(name))))
            .collect();
        document = json!({"client": env!("CARGO_PKG_VERSION"), "kubernetes": kubernetes.git_version, "served": served});
    }
    let text = match &args.output {
        None => text(&document),
        Some(format) => format
            .document(&document, print::to_terminal())?
            .ok_or_else(|| Failure::Usage("write -o json, yaml or jsonpath=TEMPLATE".to_owned()))?,
    };
    print::out(&text)?;
    Ok(Exit::Done)
}

fn text(document: &Value) -> String {
    let word = |field: &str| document.get(field).and_then(Value::as_str);
    let mut text = format!("kubectl cofferdam    {}\n", word("client").unwrap_or_default());
    if let Some(server) = word("kubernetes") {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "Kubernetes           {}", cofferdam_text::escape(server));
        for (group, what) in GROUPS {
            let versions = document
                .get("served")
                .and_then(|served| served.get(group))
                .and_then(Value::as_array);
            let said = versions.map_or_else(
                || format!("not served: no {what}"),
                |versions| {
                    versions
                        .iter()
                        .filter_map(Value::as_str)
                        .map(cofferdam_text::escape)
                        .collect::<Vec<_>>()
                        .join(", ")
                },
            );
            let _ = writeln!(text, "{group:<20} {said}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_served_is_said() {
        let document = json!({"client": "0.1.0", "kubernetes": "v1.37.0", "served": {"cofferdam.dev": ["v1alpha1"], "output.cofferdam.dev": null}});
        insta::assert_snapshot!(text(&document), @r"
        kubectl cofferdam    0.1.0
        Kubernetes           v1.37.0
        cofferdam.dev        v1alpha1
        output.cofferdam.dev not served: no patches, records
        ");
    }
}
