//! The custom resources as a cluster gets them: generated files, examples, and every rule with what it refuses.
//! Everything but `cluster` needs none.

#[cfg(test)]
mod bounds;
#[cfg(test)]
mod examples;
#[cfg(test)]
mod generated;
#[cfg(test)]
mod manifests;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod schema;
