//! Feeds libFuzzer's inputs to the harness `cluster`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fanfare_fuzz::cluster::cluster(bytes));
