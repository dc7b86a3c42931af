//! A small HTTP client for the roles' calls to each other.
