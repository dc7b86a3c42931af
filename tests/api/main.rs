//! The custom resources as a cluster gets them: generated files, examples, and every rule with what it refuses.
//! No cluster is needed; the end-to-end tests put the same tables before a real API server.

#[cfg(test)]
mod bounds;
#[cfg(test)]
mod cases;
#[cfg(test)]
mod credential_cases;
#[cfg(test)]
mod described;
#[cfg(test)]
mod examples;
#[cfg(test)]
mod fuzzed;
#[cfg(test)]
mod generated;
#[cfg(test)]
mod made;
#[cfg(test)]
mod manifests;
#[cfg(test)]
mod renamed;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod schema;
#[cfg(test)]
mod stored;
