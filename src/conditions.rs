//! Conditions of a status, and who owns their timestamps.
