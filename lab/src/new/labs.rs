//! Where a student's crate finds the crates of the labs.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::Kind;
use crate::refusal::{Refusal, because};

/// The checkout that this program was built from.
const BUILT_FROM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// What a student's crate depends on; without a Raft beneath a service.
const CRATES: &[&str] = &["contract", "harness", "labgob", "labrpc", "labrt", "tests"];

/// A student's crate names the checkout relative to itself if it is no farther away than this, so
/// that both can be moved together; beyond, from the root, so that it can be moved alone.
const NEAR: usize = 2;

/// Where the crates are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Labs {
    /// A checkout, by its path from the root.
    Checkout(PathBuf),
    /// The URL of a git repository.
    Git(String),
}

/// The same, as a `Cargo.toml` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Path(String),
    Git(String),
}

impl Labs {
    /// The place that a person names, or the checkout that this program was built from.
    ///
    /// # Errors
    /// If there is no such checkout.
    pub(super) fn find(named: Option<&str>, kind: Kind) -> Result<Self, Refusal> {
        match named {
            Some(url) if url.contains("://") => Ok(Self::Git(url.to_string())),
            Some(path) => Self::checkout(Path::new(path), kind),
            None => Self::checkout(Path::new(BUILT_FROM), kind).map_err(|_| {
                Refusal(format!(
                    "the checkout of raft-labs that this program was built from, {}, is not there \
                     any more. Say where one is with --deps PATH, or --deps URL for a git \
                     repository",
                    Path::new(BUILT_FROM).parent().unwrap_or(Path::new(BUILT_FROM)).display()
                ))
            }),
        }
    }

    fn checkout(path: &Path, kind: Kind) -> Result<Self, Refusal> {
        let why = || format!("--deps {}: there is no such folder", path.display());
        let folder = path.canonicalize().map_err(because(why()))?;
        let raft = (kind == Kind::Kv).then_some("raft");
        let is_missing = |name: &&&str| !folder.join(name).join("Cargo.toml").is_file();
        match CRATES.iter().chain(&raft).find(is_missing) {
            None => Ok(Self::Checkout(folder)),
            Some(name) => Err(Refusal(format!(
                "--deps {}: this is no checkout of raft-labs, since {name}/Cargo.toml is not there",
                path.display()
            ))),
        }
    }

    /// As the crate in `dir` names it.
    ///
    /// # Errors
    /// If the path cannot stand in a `Cargo.toml`.
    pub(super) fn seen_from(&self, dir: &Path) -> Result<Source, Refusal> {
        let folder = match self {
            Self::Git(url) => return Ok(Source::Git(url.clone())),
            Self::Checkout(folder) => folder,
        };
        let path = relative(folder, dir).unwrap_or_else(|| folder.clone());
        let text = path.to_str().ok_or_else(|| {
            Refusal(format!(
                "{} is no text that a Cargo.toml could hold: have the checkout elsewhere",
                path.display()
            ))
        })?;
        Ok(Source::Path(text.to_string()))
    }

    /// What the checkout was tested with, in the versions of other people's crates.
    pub(super) fn lock(&self) -> Option<String> {
        match self {
            Self::Checkout(folder) => fs::read_to_string(folder.join("Cargo.lock")).ok(),
            Self::Git(_) => None,
        }
    }
}

/// `folder` as a path from `dir`, if that is near. Both are paths from the root.
fn relative(folder: &Path, dir: &Path) -> Option<PathBuf> {
    let mut up = PathBuf::new();
    for ancestor in dir.ancestors().skip(1).take(NEAR) {
        up.push("..");
        // Below the root everything is near by this count, and nothing is moved together.
        ancestor.parent()?;
        if let Ok(rest) = folder.strip_prefix(ancestor) {
            return Some(up.components().chain(rest.components()).collect());
        }
    }
    None
}

impl Source {
    /// What a person has to know who gives the crate away.
    pub(super) fn warning(&self) -> Option<&'static str> {
        let is_far = matches!(self, Self::Path(path) if Path::new(path).is_absolute());
        is_far.then_some(
            "Its Cargo.toml names that folder by its full path, which no other machine has: for a \
             classroom, or to build it elsewhere, have the crate beside the checkout, or make it \
             with --deps URL, a git repository.",
        )
    }

    /// What makes `cargo lab` start the checkout's program, standing in the crate: nothing has to
    /// be installed. None if there is no checkout to start it from, or a space in its path, at
    /// which cargo would split the words. They could be a list, but in a crate that lies inside the
    /// checkout cargo merges both `lab`: one text replaces the other, lists would be joined.
    pub(super) fn cargo_config(&self) -> Option<String> {
        let Self::Path(path) = self else { return None };
        let manifest = format!("{path}/Cargo.toml");
        let words = quoted(&format!("run --release --manifest-path {manifest} --package lab --"));
        let config = format!(
            "[alias]\n\
             # `cargo lab grade`: the command line of the labs, from where their crates are.\n\
             lab = {words}\n"
        );
        (!path.contains(char::is_whitespace)).then_some(config)
    }

    /// What has to be done once to have the program as `lab`.
    pub(super) fn installation(&self) -> String {
        match self {
            Self::Path(path) if path.contains(char::is_whitespace) => {
                format!("cargo install --path \"{path}/lab\"")
            }
            Self::Path(path) => format!("cargo install --path {path}/lab"),
            Self::Git(url) => format!("cargo install --git {url} lab"),
        }
    }

    /// What `Cargo.toml` says of one of the crates.
    pub(super) fn dependency(&self, name: &str) -> String {
        match self {
            Self::Path(path) => format!("{{ path = {} }}", quoted(&format!("{path}/{name}"))),
            Self::Git(url) => format!("{{ git = {} }}", quoted(url)),
        }
    }
}

/// A string of JSON is one of TOML.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

impl fmt::Display for Labs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Checkout(folder) => write!(f, "{}", folder.display()),
            Self::Git(url) => f.write_str(url),
        }
    }
}
