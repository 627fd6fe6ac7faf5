//! libFuzzer's way to [`fuzz::jwt::check`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _verdict = fuzz::jwt::check(bytes);
});
