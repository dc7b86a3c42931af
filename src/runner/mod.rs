//! What runs beside the agent in its pod: `prepare` before it, `sidecar` with it.
