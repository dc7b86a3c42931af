//! `list -w`: what changes, a line each, until the user ends it.

use std::pin::pin;

use futures::TryStreamExt as _;
use kube::Client;
use kube::api::{Request as Ask, WatchEvent, WatchParams};
use serde_json::Value;

use super::rows::{self, Shape};
use super::{Args, is_of, names};
use crate::failure::Failure;
use crate::print::paint::Paint;
use crate::print::{self, Format};
use crate::runs::{Run, Scope, list};

/// Writes runs as they change.
pub async fn go_on(
    client: &Client,
    scope: &Scope,
    args: &Args,
    me: Option<&str>,
    mut version: String,
) -> Result<(), Failure> {
    let params = WatchParams {
        label_selector: args.selector.clone(),
        field_selector: args.fields(),
        ..WatchParams::default()
    };
    let failed = |error: &kube::Error| Failure::api(scope.describe(), error);
    loop {
        let request = Ask::new(scope.path())
            .watch(&params, &version)
            .map_err(|error| Failure::Usage(error.to_string()))?;
        let events = client
            .request_events::<Value>(request)
            .await
            .map_err(|error| failed(&error))?;
        let mut events = pin!(events);
        while let Some(event) = events.try_next().await.map_err(|error| failed(&error))? {
            match event {
                WatchEvent::Added(value) | WatchEvent::Modified(value) | WatchEvent::Deleted(value) => {
                    let run = Run::from(value);
                    run.metadata("resourceVersion").clone_into(&mut version);
                    if me.is_none_or(|me| is_of(&run, me)) {
                        one(args, scope, &run)?;
                    }
                }
                WatchEvent::Bookmark(mark) => version = mark.metadata.resource_version,
                // What the API server forgot is listed anew; the list itself was written before.
                WatchEvent::Error(status) if status.code == 410 => {
                    version = list(client, scope, args.selector.as_deref(), args.fields().as_deref())
                        .await?
                        .resource_version;
                    break;
                }
                WatchEvent::Error(status) => return Err(failed(&kube::Error::Api(status))),
            }
        }
    }
}

/// The line of one run, without a header.
fn one(args: &Args, scope: &Scope, run: &Run) -> Result<(), Failure> {
    let shape = Shape {
        wide: args.output == Format::Wide,
        namespaces: *scope == Scope::All,
    };
    let text = match &args.output {
        Format::Table | Format::Wide => {
            let paint = Paint::for_output(&std::io::stdout());
            // A place is worth a list, not one for each line.
            let table = rows::table(std::slice::from_ref(run), &[], shape, print::time::now(), paint);
            table
                .split_once('\n')
                .map(|(_, line)| line.to_owned())
                .unwrap_or_default()
        }
        Format::Name => names(std::slice::from_ref(run)),
        documents => documents
            .document(&run.value, print::to_terminal())?
            .unwrap_or_default(),
    };
    print::out(&text)
}
