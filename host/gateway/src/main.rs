//! The `fanfare` binary: hands the arguments to [`fanfare_gateway::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    fanfare_gateway::cli::main()
}
