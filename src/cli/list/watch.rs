//! `list -w`: what changes, a line each, until the user ends it.

use std::collections::HashSet;

use super::rows::{self, Shape};
use super::select::Filters;
use super::{Args, names};
use crate::failure::{Exit, Failure};
use crate::print::paint::Paint;
use crate::print::{self, Format};
use crate::runs::watch::{Change, Changes};
use crate::runs::{Run, Scope};

/// Writes runs as they change; `written` are those that were before.
pub async fn go_on(
    mut changes: Changes,
    args: &Args,
    scope: &Scope,
    filters: &Filters,
    written: &[Run],
) -> Result<Exit, Failure> {
    let mut shown: HashSet<String> = written.iter().map(|run| run.metadata("uid").to_owned()).collect();
    loop {
        let change = changes.next().await?;
        if is_shown(&change, filters, &mut shown) {
            print::out(&line(args, scope, &change)?)?;
        }
    }
}

/// Whether a change is worth a line: of a run that is meant, or that was written before and is gone now.
fn is_shown(change: &Change, filters: &Filters, shown: &mut HashSet<String>) -> bool {
    match change {
        Change::Is(run) => {
            let fits = filters.fits(run);
            if fits {
                shown.insert(run.metadata("uid").to_owned());
            }
            fits
        }
        Change::Gone(run) => shown.remove(run.metadata("uid")),
    }
}

/// The line of one run, without a header.
fn line(args: &Args, scope: &Scope, change: &Change) -> Result<String, Failure> {
    let (run, gone): (&Run, bool) = match change {
        Change::Is(run) => (run, false),
        Change::Gone(run) => (run, true),
    };
    let shape = Shape {
        wide: args.output == Format::Wide,
        namespaces: *scope == Scope::All,
    };
    Ok(match &args.output {
        Format::Table | Format::Wide => {
            let paint = Paint::for_output(&std::io::stdout());
            // A place is worth a list, not one for each line.
            let table = if gone {
                rows::gone(run, shape, paint)
            } else {
                rows::table(std::slice::from_ref(run), &[], shape, print::time::now(), paint)
            };
            table
                .split_once('\n')
                .map(|(_, line)| line.to_owned())
                .unwrap_or_default()
        }
        Format::Name => names(std::slice::from_ref(run)),
        documents => documents
            .document(&run.value, print::to_terminal())?
            .unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(uid: &str, user: &str) -> Box<Run> {
        Box::new(Run::from(json!({
            "metadata": {"name": uid, "uid": uid},
            "spec": {"task": {"prompt": "p"}, "agent": {"image": "i"}, "requestedBy": {"username": user}},
        })))
    }

    /// What is gone has names and nothing else, so who it was of is what was seen before.
    #[test]
    fn what_is_gone_is_told_of_runs_that_were_shown() {
        let mut shown = HashSet::from(["old".to_owned()]);
        let filters = Filters::default().with_me(Some("anna".to_owned()));
        let mut told = |change: Change| is_shown(&change, &filters, &mut shown);
        let gone = |uid: &str| {
            Change::Gone(Box::new(Run::from(
                json!({"metadata": {"name": uid, "uid": uid}}),
            )))
        };
        assert!(told(Change::Is(run("mine", "anna"))));
        assert!(!told(Change::Is(run("other", "bert"))));
        assert!(told(gone("mine")) && told(gone("old")));
        assert!(!told(gone("other")) && !told(gone("mine")));
    }
}
