//! Feeds libFuzzer's inputs to the harness `pubsub`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fanfare_fuzz::pubsub::pubsub(bytes));
