//! Feeds libFuzzer's inputs to the harness `serializer_v2`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fanfare_fuzz::serializer::serializer_v2(bytes));
