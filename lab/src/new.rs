//! A crate for a student to begin with: it builds, and fails every test with what is to be written.
//!
//! The files are those of the folder `kit/`, which are part of this program; `files` says which
//! kind of crate has which. What changes from crate to crate is its name, and where the crates of
//! the labs are (`labs`). A crate holds nothing that was worked out while it was made but these
//! two, so a course can as well make one, change what it likes, and hand that out.

mod files;
mod labs;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::refusal::{Refusal, because};
use crate::say::say;
use labs::{Labs, Source};

/// Make a crate in which you write your own Raft, or a service, or both.
///
/// It builds at once and fails every test, each with what to write, and where. Without --kv or
/// --both it is for the Raft of lab 2: its service comes with lab 3.
///
///   lab new my-raft                  Raft: the parts 2A to 2D
///   lab new my-kv --kv               a key-value service on our Raft: 3A and 3B
///   lab new my-labs --both           both, your service on your Raft: the full course
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// The folder to make; it must be empty if it exists
    dir: PathBuf,
    #[command(flatten)]
    kind: KindArgs,
    /// The crate's name [default: the folder's]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Where the crates of the labs are: a checkout of raft-labs, or the URL of a git repository
    /// [default: the checkout that this program was built from]
    #[arg(long, value_name = "PATH|URL")]
    deps: Option<String>,
}

#[derive(clap::Args)]
#[group(multiple = false)]
struct KindArgs {
    /// You write Raft: 2A to 2D [default]
    #[arg(long)]
    raft: bool,
    /// You write a key-value service, and it runs on our Raft: 3A and 3B
    #[arg(long)]
    kv: bool,
    /// You write both: 2A to 3B
    #[arg(long)]
    both: bool,
}

/// What a student writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Raft,
    Kv,
    Both,
}

impl KindArgs {
    fn kind(&self) -> Kind {
        match (self.kv, self.both) {
            (true, _) => Kind::Kv,
            (_, true) => Kind::Both,
            _ => Kind::Raft,
        }
    }
}

impl Kind {
    /// In words, with the parts.
    fn describe(self) -> &'static str {
        match self {
            Self::Raft => "Raft (2A to 2D)",
            Self::Kv => "a key-value service, on our Raft (3A and 3B)",
            Self::Both => "Raft, and a key-value service on it (2A to 3B)",
        }
    }

    fn first_part(self) -> &'static str {
        if self == Self::Kv { "3A" } else { "2A" }
    }

    fn texts(self) -> &'static str {
        match self {
            Self::Raft => "LAB2.md",
            Self::Kv => "LAB3.md",
            Self::Both => "LAB2.md, LAB3.md",
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, Refusal> {
    let kind = args.kind.kind();
    let name = name(args)?;
    refuse_occupied(&args.dir)?;
    let labs = Labs::find(args.deps.as_deref(), kind)?;
    let dir = make_folder(&args.dir)?;
    let source = labs.seen_from(&dir)?;
    for (path, text) in files::of(kind) {
        write(&dir.join(path), &files::fill_in(text, &name, &source, kind))?;
    }
    if let Some(config) = source.cargo_config() {
        write(&dir.join(".cargo/config.toml"), &config)?;
    }
    if let Some(lock) = labs.lock() {
        write(&dir.join("Cargo.lock"), &lock)?;
    }
    say(farewell(&args.dir, &name, kind, &labs, &source));
    Ok(ExitCode::SUCCESS)
}

/// Names that mean something else where crates are named.
const TAKEN: &str = "\
    alloc contract core harness kvraft labgob labrpc labrt log proc_macro raft serde std test \
    tests";

/// Rust's words, in which no path can begin.
const KEYWORDS: &str = "\
    abstract as async await become box break const continue crate do dyn else enum extern false \
    final fn for gen if impl in let loop macro match mod move mut override priv pub ref return \
    self static struct super trait true try type typeof unsafe unsized use virtual where while \
    yield";

/// The crate's name: that of the folder, unless it is said.
fn name(args: &Args) -> Result<String, Refusal> {
    let of_folder =
        || Some(std::path::absolute(&args.dir).ok()?.file_name()?.to_str()?.to_string());
    let Some(name) = args.name.clone().or_else(of_folder) else {
        return Err(Refusal(format!(
            "the folder {} has no name that a crate could have: say one with --name my-raft",
            args.dir.display()
        )));
    };
    match why_no_name(&name) {
        None => Ok(name),
        Some(reason) => Err(Refusal(format!(
            "{name:?} cannot be a crate's name: {reason}. Say another with --name my-raft, or \
             choose another folder"
        ))),
    }
}

fn why_no_name(name: &str) -> Option<&'static str> {
    let is_part = |sign: char| sign.is_ascii_lowercase() || sign.is_ascii_digit();
    let identifier = name.replace('-', "_");
    let is_among = |words: &str| words.split(' ').any(|word| word == identifier);
    if !name.starts_with(|sign: char| sign.is_ascii_lowercase()) {
        Some("it must begin with a small letter")
    } else if !name.chars().all(|sign| is_part(sign) || "-_".contains(sign)) {
        Some("it must be of small letters, digits, - and _")
    } else if is_among(KEYWORDS) {
        Some("it is a word of Rust's")
    } else if is_among(TAKEN) {
        Some("another crate that it works with has it")
    } else {
        None
    }
}

/// Nothing is ever written over.
fn refuse_occupied(dir: &Path) -> Result<(), Refusal> {
    let shown = dir.display();
    match fs::read_dir(dir).map(|mut entries| entries.next()) {
        Ok(None) => Ok(()),
        Ok(_) => Err(Refusal(format!(
            "{shown} is not empty, and nothing is written over: choose another folder, or empty it"
        ))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotADirectory => Err(Refusal(format!(
            "{shown} cannot be a folder, since a file is in its way: choose another"
        ))),
        Err(error) => Err(because(format!("{shown} cannot be read; choose another folder"))(error)),
    }
}

/// Makes the folder, and gives its path from the root.
fn make_folder(dir: &Path) -> Result<PathBuf, Refusal> {
    let why = || format!("{} cannot be made; choose a place that you can write to", dir.display());
    fs::create_dir_all(dir).map_err(because(why()))?;
    dir.canonicalize().map_err(because(why()))
}

fn write(path: &Path, text: &str) -> Result<(), Refusal> {
    let why =
        || format!("{} cannot be written; choose a place that you can write to", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(because(why()))?;
    }
    fs::write(path, text).map_err(because(why()))
}

/// Characters in a line.
const WIDTH: usize = 100;

/// What was made, and what to type next.
fn farewell(dir: &Path, name: &str, kind: Kind, labs: &Labs, source: &Source) -> String {
    let options = textwrap::Options::new(WIDTH).break_words(false);
    let warning =
        source.warning().map(|text| textwrap::fill(text, options) + "\n").unwrap_or_default();
    let (what, texts, part, dir) =
        (kind.describe(), kind.texts(), kind.first_part(), dir.display());
    let grade = match source.cargo_config() {
        Some(_) => format!("  cargo lab grade {part}\n"),
        None => format!("  {}\n  lab grade {part}\n", source.installation()),
    };
    format!(
        "made the crate {name}, in which you write {what}\n\
         \x20 README.md  how to work, to debug, and how it is graded; the tasks: {texts}\n\
         \x20 src/       where `your code here ({part})` stands, and so on\n\
         \x20 tests/     the graded suites, and tests of your own\n\
         It takes the crates of the labs from {labs}.\n\
         {warning}\
         \n\
         Begin with\n\
         \x20 cd {dir}\n\
         \x20 cargo test {part}\n\
         {grade}"
    )
}

#[cfg(test)]
mod tests;
