//! Verification of `ServiceAccount` tokens against the cluster's keys.
