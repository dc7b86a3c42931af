//! What policies name, each parsed once: hosts, methods, paths, images, repositories, references, networks, amounts.

pub mod address;
pub mod host;
pub mod image;
pub mod method;
pub mod path;
pub mod quantity;
pub mod reference;
pub mod repository;
pub mod segments;
pub mod service;

/// Each value once, in order.
pub(crate) fn sorted<T: Ord>(mut list: Vec<T>) -> Vec<T> {
    list.sort();
    list.dedup();
    list
}

/// A port of a manifest: 1 to 65535.
pub(crate) fn read_port(port: i32) -> Option<u16> {
    u16::try_from(port).ok().filter(|port| *port > 0)
}
