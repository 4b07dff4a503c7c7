//! Feeds libFuzzer's inputs to the harness `reading`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fanfare_fuzz::reading::reading(bytes));
