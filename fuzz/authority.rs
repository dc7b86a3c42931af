//! `fuzz/run.sh authority`: see [`targets::authority`].
#![no_main]

mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = targets::authority(data);
});
