//! The workspace that we stand in, as cargo knows it.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::refusal::{Refusal, because};

/// Of what cargo says of a workspace, what is looked at here.
#[derive(Debug, Deserialize)]
pub(crate) struct Workspace {
    /// Where builds go.
    pub(crate) target_directory: PathBuf,
    pub(crate) packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    /// As in `1.95`.
    rust_version: Option<String>,
}

impl Workspace {
    /// The latest Rust that one of its crates asks for.
    pub(crate) fn rust_version(&self) -> Option<String> {
        let versions = self.packages.iter().filter_map(|package| package.rust_version.clone());
        let numbers = |version: &String| -> Vec<u32> {
            version.split('.').map_while(|number| number.parse().ok()).collect()
        };
        versions.max_by_key(numbers)
    }
}

/// What a person types to have this program: cargo tells what it runs which package it is of.
pub(crate) fn this_program() -> &'static str {
    let by_cargo =
        env::var("CARGO_PKG_NAME").is_ok_and(|package| package == env!("CARGO_PKG_NAME"));
    if by_cargo { "cargo lab" } else { "lab" }
}

/// The cargo to ask.
pub(crate) fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// The compiler that cargo would use.
pub(crate) fn rustc() -> Command {
    Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
}

/// Asks for the workspace alone, as [`parse`] reads it. It needs no network.
pub(crate) fn metadata() -> Command {
    let mut command = cargo();
    command.args(["metadata", "--no-deps", "--offline", "--format-version", "1"]);
    command
}

/// Asks for all that is needed to build on `host`; fails if some of it would have to be fetched.
pub(crate) fn metadata_of_all(host: &str) -> Command {
    let mut command = cargo();
    command.args(["metadata", "--offline", "--format-version", "1", "--filter-platform", host]);
    command
}

/// Reads what [`metadata`] prints.
///
/// # Errors
/// If it is something else.
pub(crate) fn parse(text: &str) -> serde_json::Result<Workspace> {
    serde_json::from_str(text)
}

/// The folder that builds go to.
///
/// # Errors
/// If we stand in no workspace.
pub(crate) fn target_folder() -> Result<PathBuf, Refusal> {
    let output = metadata().stdin(Stdio::null()).output();
    let output = output.map_err(because("cargo could not be started"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.trim().trim_start_matches("error: ");
        return Err(Refusal(format!("cargo knows no crate here: {said}")));
    }
    let workspace = parse(&String::from_utf8_lossy(&output.stdout));
    Ok(workspace
        .map_err(because("what cargo says of this workspace is not understood"))?
        .target_directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_rust_that_a_crate_asks_for_is_what_the_workspace_needs() {
        let text = r#"{"target_directory": "/x", "packages": [{"rust_version": "1.9"},
            {"rust_version": null}, {"rust_version": "1.95"}, {"rust_version": "1.85.1"}]}"#;
        let workspace = parse(text).expect("it is a workspace");
        assert_eq!(workspace.rust_version().as_deref(), Some("1.95"));
    }
}
