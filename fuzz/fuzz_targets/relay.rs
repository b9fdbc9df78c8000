//! See `portcullis_core::testing::fuzz::relay`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portcullis_core::testing::fuzz::relay(data));
