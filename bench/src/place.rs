//! Where things are: the service's program, and the folder for the data of a run.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// Where things are.
#[derive(clap::Args)]
pub(crate) struct Place {
    /// The service's program [default: the one beside this program]
    #[arg(long, value_name = "FILE")]
    kvraft: Option<PathBuf>,
    /// Where to make a folder for the data, which is removed in the end [default: cargo's target
    /// folder]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Place {
    pub(crate) fn kvraft(&self) -> Result<OsString, String> {
        let path = match &self.kvraft {
            Some(path) => path.clone(),
            None => this_program()?.with_file_name("kvraft"),
        };
        match path.is_file() {
            true => Ok(path.into_os_string()),
            false => Err(format!(
                "{} is not there: cargo build --release -p kvraft makes it, and --kvraft names \
                 another",
                path.display()
            )),
        }
    }

    /// An empty folder, removed when this is dropped.
    pub(crate) fn folder(&self) -> Result<TempDir, String> {
        let parent = self.dir.clone().map_or_else(target, Ok)?;
        tempfile::Builder::new()
            .prefix("bench-")
            .tempdir_in(&parent)
            .map_err(|error| format!("{} has no room for data: {error}", parent.display()))
    }
}

fn this_program() -> Result<PathBuf, String> {
    env::current_exe().map_err(|error| format!("this program is gone: {error}"))
}

/// The folder that holds `release/`, in which this program is.
fn target() -> Result<PathBuf, String> {
    let program = this_program()?;
    let target = program.parent().and_then(Path::parent);
    target
        .map(Path::to_owned)
        .ok_or_else(|| "this program is in no folder: name one (--dir)".to_owned())
}
