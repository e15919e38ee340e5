//! Any file given as an image is read, validated and merged, or refused.

#![no_main]

use imgbuild_oci::filesystem::{FileSystem, ReadOptions};
use imgbuild_oci::selection::SelectedImage;
use imgbuild_oci::source::Source;
use imgbuild_oci::validate::validate;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let directory = tempfile::tempdir().expect("there is room for a directory");
    let file = directory.path().join("image.tar");
    std::fs::write(&file, data).expect("there is room for a file");
    let Ok(source) = Source::open(&file, directory.path()) else {
        return;
    };
    let _ = validate(&source, 1);
    if let Ok(image) = SelectedImage::select(&source, None, None) {
        let options = ReadOptions {
            scratch: directory.path(),
            keeps: &|_| true,
        };
        let _ = FileSystem::read(&source, &image, options);
    }
});
