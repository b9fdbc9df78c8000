//! See `portcullis_core::testing::fuzz::edit`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portcullis_core::testing::fuzz::edit(data));
