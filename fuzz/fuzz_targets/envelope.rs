//! See `portcullis_core::testing::fuzz::envelope`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portcullis_core::testing::fuzz::envelope(data));
