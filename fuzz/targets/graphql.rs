//! libFuzzer's way to [`fuzz::graphql::check`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _verdict = fuzz::graphql::check(bytes);
});
