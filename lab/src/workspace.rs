//! The workspace that we stand in, as cargo knows it.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::refusal::{Refusal, because};

/// Of what cargo says of a workspace, what is looked at here.
#[derive(Debug, Deserialize)]
struct Metadata {
    target_directory: PathBuf,
}

/// The cargo to ask.
pub(crate) fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// The folder that builds go to.
///
/// # Errors
/// If we stand in no workspace.
pub(crate) fn target_folder() -> Result<PathBuf, Refusal> {
    let mut command = cargo();
    command.args(["metadata", "--no-deps", "--offline", "--format-version", "1"]);
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(because("cargo could not be started"))?;
    if !output.status.success() {
        return Err(Refusal(format!(
            "cargo knows no crate here: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )));
    }
    let metadata: Metadata = serde_json::from_slice(&output.stdout)
        .map_err(because("what cargo says of this workspace is not understood"))?;
    Ok(metadata.target_directory)
}
