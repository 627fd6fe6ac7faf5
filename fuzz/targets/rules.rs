//! libFuzzer's way to [`fuzz::rules::check`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _verdict = fuzz::rules::check(bytes);
});
