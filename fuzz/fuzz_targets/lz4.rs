//! The target `lz4` of `guards`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| onrush_fuzz::parse("lz4", input));
