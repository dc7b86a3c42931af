//! `fuzz/run.sh hello`: see [`targets::hello`].
#![no_main]

mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = targets::hello(data);
});
