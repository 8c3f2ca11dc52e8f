//! See `fanfare_store::fuzzing::frames`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fanfare_store::fuzzing::frames(bytes));
