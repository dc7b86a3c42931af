//! `fuzz/run.sh paths`: see [`targets::paths`].
#![no_main]

mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = targets::paths(data);
});
