//! Builds a workspace of plugins into a folder: `cargo run -p fanfare-pack --example pack -- plugins out`.

use std::path::PathBuf;
use std::process::ExitCode;

use fanfare_pack::Workspace;

fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [workspace, out] = arguments.as_slice() else {
        eprintln!("usage: pack WORKSPACE FOLDER");
        return ExitCode::from(2);
    };
    match Workspace::open(workspace).and_then(|workspace| workspace.build(out)) {
        Ok(built) => {
            built.iter().for_each(|plugin| println!("{}", plugin.path.display()));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
