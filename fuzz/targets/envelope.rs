//! libFuzzer's way to [`fuzz::envelope::check`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _verdict = fuzz::envelope::check(bytes);
});
