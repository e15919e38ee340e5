//! Runs after all other test programs, and counts the tests that they skipped.

#![expect(clippy::print_stdout, reason = "its one line is for people")]

fn main() -> std::io::Result<()> {
    // A listing of tests has no line for it.
    if !std::env::args().any(|argument| argument == "--list") {
        println!("\n{}\n", imgbuild_testing::skip::summary()?);
    }
    Ok(())
}
