//! The processes that are measured: started, asked for CPU time and memory by `/proc`, and ended with their owner.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};

/// The unit of CPU time in `/proc`: `USER_HZ`, fixed by the kernel's interface.
const TICK: Duration = Duration::from_millis(10);

/// A child; killed when dropped.
#[derive(Debug)]
pub(crate) struct Process(Child);

impl Process {
    /// Starts `program`; what it prints goes nowhere.
    pub(crate) fn start(program: &Path, args: &[&OsStr], dir: &Path) -> anyhow::Result<Self> {
        let child = Command::new(program)
            .args(args)
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("{} can't be started", program.display()))?;
        Ok(Self(child))
    }

    /// Starts this very program with a hidden subcommand.
    pub(crate) fn own(args: &[&OsStr]) -> anyhow::Result<Self> {
        Ok(Self(own(args)?.stdout(Stdio::null()).spawn()?))
    }

    /// Starts this very program as a server, which prints its address.
    pub(crate) fn server(args: &[&OsStr]) -> anyhow::Result<(Self, SocketAddr)> {
        let mut child = own(args)?.stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().context("no output")?;
        let process = Self(child);
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let address = line.trim().parse().context("a server of the bench did not start")?;
        Ok((process, address))
    }

    /// Starts this very program, and waits for its first line; it goes on when it is told to.
    pub(crate) async fn steps(args: &[&OsStr]) -> anyhow::Result<(Self, Steps)> {
        let mut child = own(args)?.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take().context("no input")?;
        let output = BufReader::new(child.stdout.take().context("no output")?);
        let process = Self(child);
        let steps = Steps { input, output }.reached().await?;
        Ok((process, steps))
    }

    /// CPU time so far, in user and kernel mode, of all its threads.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id()))?;
        // The second field is the program's name in parentheses and may hold anything.
        let (_, fields) = stat.rsplit_once(')').context("/proc/PID/stat has no name")?;
        let mut ticks = 0;
        for field in fields.split_whitespace().skip(11).take(2) {
            ticks += field.parse::<u32>()?;
        }
        Ok(TICK * ticks)
    }

    /// Resident memory in MiB, now (`VmRSS`) or at its peak (`VmHWM`).
    pub(crate) fn memory_mib(&self, field: &str) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let kib = line.and_then(|rest| rest.split_whitespace().nth(1)).context("no such field")?;
        Ok(kib.parse::<f64>()? / 1_024.0)
    }

    /// Whether it has ended by itself.
    pub(crate) fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.0.try_wait()?)
    }

    /// Waits for its own end.
    pub(crate) async fn wait(mut self) -> anyhow::Result<()> {
        let status = tokio::task::spawn_blocking(move || self.0.wait()).await??;
        anyhow::ensure!(status.success(), "a process of the bench ended with {status}");
        Ok(())
    }

    /// Asks it to end (SIGTERM), and waits.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw).context("no process id")?;
        kill_process(pid, Signal::TERM)?;
        self.wait().await
    }
}

/// A process that prints a line when it reached something, and then waits for one.
#[derive(Debug)]
pub(crate) struct Steps {
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Steps {
    /// Lets it go on to its next line.
    pub(crate) async fn next(mut self) -> anyhow::Result<Self> {
        writeln!(self.input).context("a process of the bench has ended")?;
        self.reached().await
    }

    async fn reached(mut self) -> anyhow::Result<Self> {
        let read = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            self.output.read_line(&mut line).map(|bytes| (bytes, self))
        });
        let (bytes, steps) = read.await??;
        anyhow::ensure!(bytes > 0, "a process of the bench ended early");
        Ok(steps)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn own(args: &[&OsStr]) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(args).stdin(Stdio::null());
    Ok(command)
}
