//! `fuzz/run.sh head`: see [`targets::head`].
#![no_main]

mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = targets::head(data);
});
