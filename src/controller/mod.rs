//! The controller: turns runs and policies into Jobs under the fence, and tells what happened.
