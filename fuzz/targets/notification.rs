//! libFuzzer's way to [`fuzz::notification::check`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _verdict = fuzz::notification::check(bytes);
});
