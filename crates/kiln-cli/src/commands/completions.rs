//! `kiln completions`: a script that completes commands and flags.

use crate::cli::{self, Completions};
use kiln_train::failure::Result;
use std::io::Write;

/// Prints the script of a shell.
pub fn run(args: &Completions, out: &mut dyn Write) -> Result<()> {
    // Generated in memory: the generator itself panics when it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut cli::command(), "kiln", &mut script);
    Ok(out.write_all(&script)?)
}
