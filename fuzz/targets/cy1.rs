//! libFuzzer's way to [`fuzz::cy1::check`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _verdict = fuzz::cy1::check(bytes);
});
