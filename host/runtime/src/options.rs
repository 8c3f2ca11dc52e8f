//! What a runtime is started with, and why it may not start.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fanfare_model::clock::Clock;

use crate::limits::Limits;

/// What [`crate::Runtime::start`] needs to know.
#[derive(Clone, Debug)]
pub struct RuntimeOptions {
    /// Where compiled components are kept; made if it is not there.
    pub cache_dir: PathBuf,
    /// Who compiles.
    pub compiler: Compiler,
    /// How much runs at a time.
    pub concurrency: Concurrency,
    /// No plugin gets more, whatever its manifest or its channel's section says.
    pub ceilings: Limits,
    /// The time that guests are told.
    pub clock: Arc<dyn Clock>,
}

/// Who turns a component into machine code.
#[derive(Clone, Debug)]
pub enum Compiler {
    /// This process. Simple, and leaves memory behind: for tests and the command line.
    InProcess,
    /// A child that reads the component on its standard input and writes compiled code to its standard
    /// output, by calling [`crate::compile_stdio`].
    Child {
        /// The program, usually this one.
        program: PathBuf,
        /// Its arguments, usually a hidden subcommand.
        args: Vec<OsString>,
        /// A compilation that takes longer is killed.
        timeout: Duration,
    },
}

/// How much runs at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concurrency {
    /// Instances alive at a time; further calls wait.
    pub instances_max: u32,
    /// OS threads for guests that use more than a tick.
    pub guest_threads: usize,
}

impl Default for Concurrency {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        Self { instances_max: 256, guest_threads: cores.max(2) }
    }
}

/// Why the runtime can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// wasmtime refused the configuration, usually because the address space is limited.
    #[error(
        "the WebAssembly engine does not start: {0}; check that address space is not limited (ulimit -v)"
    )]
    Engine(String),
    /// The component cache can't be made.
    #[error("can't use {} as the component cache: {source}", path.display())]
    Cache {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A thread can't be started.
    #[error("can't start a thread: {0}")]
    Thread(std::io::Error),
    /// The interfaces that guests import can't be linked.
    #[error("the host's interfaces can't be linked: {0}")]
    Link(String),
}
