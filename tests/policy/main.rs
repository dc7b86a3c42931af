//! The policy engine from outside: decisions with their messages, the laws that hold for any policies, and parsers
//! fed with anything.

#[cfg(test)]
mod agreement;
#[cfg(test)]
mod credentials;
#[cfg(test)]
mod decisions;
#[cfg(test)]
mod dimensions;
#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod generated;
#[cfg(test)]
mod laws;
#[cfg(test)]
mod manifests;
#[cfg(test)]
mod mistakes;
#[cfg(test)]
mod parsers;
#[cfg(test)]
mod presets;
#[cfg(test)]
mod profiles;
#[cfg(test)]
mod reach;
#[cfg(test)]
mod refusals;
