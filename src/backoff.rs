//! Delays between tries.
