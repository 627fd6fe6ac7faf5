//! libFuzzer's way to [`fuzz::roster_xlsx::check`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _verdict = fuzz::roster_xlsx::check(bytes);
});
