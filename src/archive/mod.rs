//! The archive: receives patches and records, and hands them back.
