//! No bytes are read as a program or library that is anything but one, and
//! none makes the reader fail in another way than with an error.

#![no_main]

use imgbuild_release::elf::Elf;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(Some(elf)) = Elf::read(data) {
        assert!(data.starts_with(b"\x7fELF"));
        // What is said of it is for messages: asking is all that can fail.
        let _ = (elf.architecture(), elf.is_for_linux());
    }
});
