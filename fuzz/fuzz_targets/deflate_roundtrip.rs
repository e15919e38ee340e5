#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| imgbuild_deflate::fuzz::deflate_roundtrip(data));
