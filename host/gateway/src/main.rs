//! The `fanfare` binary: hands the arguments to [`fanfare_gateway::cli`].

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// A notification costs some hundred small allocations on its way; glibc's took 15 % of the time, and kept what a burst had
/// needed.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    fanfare_gateway::cli::main()
}
