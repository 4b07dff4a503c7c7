//! Feeds libFuzzer's inputs to the harness `websocket`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fanfare_fuzz::websocket::websocket(bytes));
