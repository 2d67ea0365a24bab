//! The `kiln` binary for tests.

use std::process::ExitCode;

fn main() -> ExitCode {
    kiln_cli::main()
}
