//! The target `snappy` of `guards`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| onrush_fuzz::parse("snappy", input));
