//! Feeds libFuzzer's inputs to the harness `http`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fanfare_fuzz::http::http(bytes));
