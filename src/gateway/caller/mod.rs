//! Who sends a request: from the token and the address of a connection to a caller whose right can be cut.

mod admitter;
pub mod pods;
pub mod view;

pub use self::admitter::Admitter;
pub use self::pods::{Kind, SandboxPod};
pub use self::view::{Caller, Passing, View};
