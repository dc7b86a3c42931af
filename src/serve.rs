//! Health endpoints and graceful shutdown, the same for every role.
