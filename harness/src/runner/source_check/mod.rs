//! Before a run: does the code under test take its threads, locks, channels and clocks from
//! `labrt`?
//!
//! An editor imports `std::sync::Mutex` as readily as `labrt::sync::Mutex`. It compiles, and then a
//! simulated world stands still in a lock that it knows nothing of, or two runs of a seed part. So
//! the runner looks at the crate's sources first, and names each such line and what belongs there.
//! The list is that of this repository's `clippy.toml`, and of one beside the sources: a student's
//! crate has a longer one, with files, sockets and statics. By these `cargo clippy` finds the same
//! with a compiler's care; and what allows a line there does so here:
//! `#[allow(clippy::disallowed_types)]`, or `disallowed_methods`, on the item.
//!
//! This looks at tokens, and takes an import for one of the whole file. It is made to miss rather
//! than to accuse: where a name has two meanings in a file, it says nothing.
//!
//! # Left out
//! Names that a macro makes, that come from another file of the crate (`pub use`), and methods of
//! values: they are clippy's.

mod names;
mod tokens;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use names::{Imports, paths, split_imports, without_allowed};
use tokens::tokens;

/// What no crate may use, and what to use instead.
const CLIPPY_TOML: &str = include_str!("../../../../clippy.toml");

/// So many lines are named: who has more has made one mistake many times.
const TOLD_MAX: usize = 10;

/// An entry of `clippy.toml`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Disallowed {
    path: String,
    advice: String,
}

impl Disallowed {
    /// Of a line such as `{ path = "std::thread::sleep", replacement = "labrt::thread::sleep" },`.
    fn parse(line: &str) -> Option<Self> {
        let mut quoted = line.trim().strip_prefix("{ path = ")?.split('"');
        let (path, key, text) = (quoted.nth(1)?, quoted.next()?, quoted.next()?);
        let advice = match key.contains("replacement") {
            true => format!("use {}", without_method(text)),
            false => text.to_string(),
        };
        Some(Self { path: without_method(path).to_string(), advice })
    }

    fn covers(&self, path: &str) -> bool {
        path.strip_prefix(&*self.path).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    }
}

/// `std::thread::Builder` of `std::thread::Builder::spawn`: in a source, a method of a value shows
/// by the value's type.
fn without_method(path: &str) -> &str {
    let owner = path.rsplit_once("::").map_or("", |(owner, _)| owner);
    let name = owner.rsplit("::").next().unwrap_or_default();
    if name.starts_with(char::is_uppercase) { owner } else { path }
}

/// What a crate may not use that has this in a `clippy.toml` of its own.
fn disallowed(own: &str) -> Vec<Disallowed> {
    let mut entries: Vec<Disallowed> = Vec::new();
    for entry in CLIPPY_TOML.lines().chain(own.lines()).filter_map(Disallowed::parse) {
        if !entries.contains(&entry) {
            entries.push(entry);
        }
    }
    entries
}

/// Looks at all sources below `folder`. What cannot be read is passed over: the program may have
/// been taken to another machine without them.
///
/// # Errors
/// If something is used that must not be: names line and remedy, of each.
pub(super) fn check(folder: &Path) -> Result<(), String> {
    let root = folder.parent().unwrap_or(folder);
    let disallowed = disallowed(&fs::read_to_string(root.join("clippy.toml")).unwrap_or_default());
    let mut found = Vec::new();
    for path in rust_files(folder) {
        let Ok(source) = fs::read_to_string(&path) else { continue };
        let shown = path.strip_prefix(root).unwrap_or(&path);
        let lines = uses(&source, &disallowed);
        found.extend(lines.into_iter().map(|found| (shown.display().to_string(), found)));
    }
    if found.is_empty() { Ok(()) } else { Err(describe(&found)) }
}

fn describe(found: &[(String, Found)]) -> String {
    let mut text = "a simulated world cannot see what this crate takes from elsewhere than labrt, \
                    so no test is run:\n"
        .to_string();
    for (file, Found { line, entry: Disallowed { path, advice } }) in found.iter().take(TOLD_MAX) {
        let _ = writeln!(text, "  {file}:{line}: {path}: {advice}");
    }
    if let more @ 1.. = found.len().saturating_sub(TOLD_MAX) {
        let _ = writeln!(text, "  and {more} more");
    }
    text + "(Where that is on purpose, put #[allow(clippy::disallowed_types)] on the item, or \
            disallowed_methods.)"
}

/// In the order of their names.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let files = |path: PathBuf| match path.is_dir() {
        true => rust_files(&path),
        false => vec![path],
    };
    let mut files: Vec<PathBuf> = paths.into_iter().flat_map(files).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    files
}

/// A use of what must not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    line: usize,
    entry: Disallowed,
}

/// Each use in a source of what is disallowed, and not allowed there.
fn uses(source: &str, disallowed: &[Disallowed]) -> Vec<Found> {
    let tokens = without_allowed(&tokens(source));
    let (imported, rest) = split_imports(&tokens);
    let find = |path: &str| disallowed.iter().find(|entry| entry.covers(path));
    let imports = Imports::new(&imported, |path| find(path).is_some());
    let of_imports = imported.iter().map(|import| (import.path.clone(), import.line));
    let found = of_imports.chain(paths(&rest)).filter_map(|(path, line)| {
        let entry = imports.meanings(&path).iter().find_map(|meaning| find(meaning))?.clone();
        Some(Found { line, entry })
    });
    let mut all: Vec<Found> = found.collect();
    all.sort_by_key(|found| found.line);
    all.dedup();
    all
}

#[cfg(test)]
mod tests;
