//! The clean kit that submissions are put into: its dependencies, its build, and nothing else in
//! sight.
//!
//! Of a submission only the files count that the kit lists (`[package.metadata.lab] sources`). They
//! are seen in the place of the kit's own; all else is the kit's: its tests, its Cargo.toml. The
//! build is locked in as well. It runs no code of a submission (there is no build script, and no
//! procedural macro but those of our dependencies), yet it reads files that the code names, and
//! must not find a solution.

use std::env;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use labrt::time::Duration;
use serde::Deserialize;

use crate::limits::Limits;
use crate::record::USUAL_TARGET;
use crate::refusal::{Refusal, because};
use crate::sandbox::Sandbox;
use crate::stop::Stop;
use crate::worker;
use crate::workspace;

/// Files of one submission, and their bytes.
const FILES_MAX: usize = 1_000;
const BYTES_MAX: u64 = 16 << 20;

/// What a build may take.
#[derive(Clone, Copy)]
pub(crate) struct Allowance {
    time: Duration,
    /// Bytes of memory that all of its processes may take together.
    together: u64,
}

impl Allowance {
    /// Of the kit's own build, on a slow machine. It builds all dependencies, with a compiler for
    /// each core, and nobody need be afraid of them.
    pub(crate) const OF_KIT: Self = Self { time: Duration::from_secs(30 * 60), together: u64::MAX };

    /// Of a submission's build, which is one crate and its tests: the plain Raft takes a twelfth.
    pub(crate) fn of_submission(time: Duration) -> Self {
        Self { time, together: 4 << 30 }
    }
}

/// What any build may take: memory that one compiler may reserve, processes and threads, and bytes
/// of what it says.
const BUILD_MEMORY: u64 = 8 << 30;
const BUILD_PROCESSES: u64 = 1_024;
const BUILD_TEXT_MAX: u64 = 16 << 20;

/// A clean kit, ready to be built with anybody's sources.
pub(crate) struct Course {
    /// The kit's folder, which is not changed.
    pub(crate) kit: PathBuf,
    package: String,
    /// What is taken of a submission, relative to its folder.
    pub(crate) sources: Vec<PathBuf>,
    /// Our own folder: vendored crates, builds, the sources taken last.
    work: PathBuf,
    toolchain: PathBuf,
    /// Folders of the crates that the kit depends on by path, and their workspaces' manifests.
    local: Vec<PathBuf>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Resolve {
    root: Option<String>,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    manifest_path: PathBuf,
    /// None if it is given by a path.
    source: Option<String>,
    metadata: Option<serde_json::Value>,
}

/// What came of building a submission.
pub(crate) enum Built {
    /// Cargo's messages, a line of JSON each.
    Yes(String),
    /// What the compiler said.
    No(String),
}

impl Course {
    /// Gets the kit's dependencies together, in `work`.
    ///
    /// # Errors
    /// If the folder holds no kit, or its dependencies are not at hand.
    pub(crate) fn prepare(kit: &Path, work: &Path) -> Result<Self, Refusal> {
        let shown = kit.display();
        let kit =
            kit.canonicalize().map_err(because(format!("the kit {shown} cannot be found")))?;
        let metadata = metadata(&kit)?;
        let root =
            metadata.packages.iter().find(|it| Some(&it.id) == metadata.resolve.root.as_ref());
        let root =
            root.ok_or_else(|| Refusal(format!("{shown} is not a crate as lab new makes it")))?;
        let local = metadata.packages.iter().filter(|it| it.source.is_none() && it.id != root.id);
        let local = local.flat_map(|package| seen_of(&package.manifest_path)).collect();
        let course = Self {
            package: root.name.clone(),
            sources: sources(root)?,
            work: work.to_path_buf(),
            toolchain: toolchain()?,
            local,
            kit,
        };
        course.vendor()?;
        Ok(course)
    }

    /// The crates that are not ours, so that a build finds them without a network.
    fn vendor(&self) -> Result<(), Refusal> {
        let vendored = self.work.join("vendor");
        let mut cargo = Command::new(self.toolchain.join("bin/cargo"));
        cargo.args(["vendor", "--locked"]).arg(&vendored);
        // It says itself how the crates, from wherever they are, are to be found there.
        let config = finish(cargo.current_dir(&self.kit))?.stdout;
        fs::write(self.config(), config).map_err(because("the kit's dependencies cannot be kept"))
    }

    fn config(&self) -> PathBuf {
        self.work.join("config.toml")
    }

    fn taken(&self) -> PathBuf {
        self.work.join("taken")
    }

    pub(crate) fn target(&self) -> PathBuf {
        self.work.join("target")
    }

    /// Takes the listed files of a submission, in the place of those before.
    ///
    /// # Errors
    /// In a sentence: what is missing, or too much.
    pub(crate) fn take(&self, submission: &Path) -> Result<(), String> {
        let taken = self.taken();
        let _ = fs::remove_dir_all(&taken);
        let mut left = Left { files: FILES_MAX, bytes: BYTES_MAX };
        for source in &self.sources {
            let from = submission.join(source);
            let copied = are_no_links(submission, source)
                .and_then(|()| copy(&from, &taken.join(source), &mut left));
            copied.map_err(|error| format!("{} cannot be taken: {error}", source.display()))?;
        }
        Ok(())
    }

    /// Where a build or a run of what was taken is locked in.
    pub(crate) fn sandbox(&self, user: Option<u32>, processes: u64) -> Sandbox {
        let mut sandbox = Sandbox { user, processes, ..Sandbox::default() };
        sandbox.show(&self.kit);
        for source in &self.sources {
            sandbox.show_at(&self.kit.join(source), &self.taken().join(source));
        }
        sandbox
    }

    /// Whether who runs submissions gets to what is seen in a sandbox.
    ///
    /// # Errors
    /// If not.
    pub(crate) fn check_reach(&self, sandbox: &Sandbox) -> Result<(), Refusal> {
        let complaint = sandbox.complaint(&self.kit);
        match complaint.map_err(because("bubblewrap could not be started"))? {
            None => Ok(()),
            Some(said) => Err(Refusal(format!(
                "submissions are run by a user who has no rights, and who does not get into {}: \
                 have the kit, and TMPDIR, in folders that everybody may enter, such as /srv and \
                 /tmp ({said})",
                self.kit.display()
            ))),
        }
    }

    /// Builds what was taken, within limits.
    ///
    /// # Errors
    /// If the build cannot be started, or its place cannot be cleaned.
    pub(crate) fn build(&self, most: Allowance, stop: &Stop) -> Result<Built, Refusal> {
        make_for_all(&self.target()).map_err(because("there is no place to build in"))?;
        // What another submission left must not be taken for this one's.
        let clean = self.cargo(&["clean", "--release", "--package", &self.package]);
        if let Built::No(said) = run_limited(clean, most, stop)? {
            return Ok(Built::No(said));
        }
        let mut cargo = self.cargo(&["test", "--no-run", "--release", "--test", USUAL_TARGET]);
        cargo.arg("--message-format=json-render-diagnostics");
        run_limited(cargo, most, stop)
    }

    /// Cargo, locked in with the kit.
    fn cargo(&self, arguments: &[&str]) -> Command {
        let mut sandbox = self.sandbox(None, BUILD_PROCESSES);
        sandbox.proc = true;
        sandbox.writable.push(self.target());
        [&self.toolchain, &self.work.join("vendor"), &self.config()]
            .into_iter()
            .for_each(|path| sandbox.show(path));
        self.local.iter().for_each(|path| sandbox.show(path));
        let limits = Limits { sandbox: Some(sandbox), ..Limits::of_memory(BUILD_MEMORY) };
        let program = self.toolchain.join("bin/cargo");
        let mut cargo = limits.command(&program, &self.kit, &self.target());
        cargo.args(arguments);
        cargo.args(["--offline", "--quiet", "--config"]).arg(self.config());
        cargo.env("CARGO_HOME", "/tmp/cargo");
        cargo.env("CARGO_TARGET_DIR", self.target()).env("CARGO_TERM_COLOR", "never");
        let path = [self.toolchain.join("bin"), "/usr/bin".into(), "/bin".into()];
        cargo.env("PATH", env::join_paths(path).unwrap_or_default());
        // A class is built once for each submission: a fast build is worth more than a fast run.
        cargo
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
        cargo.stdin(Stdio::null());
        cargo
    }
}

/// Runs a build to its end, or to that of what it may take.
fn run_limited(mut cargo: Command, most: Allowance, stop: &Stop) -> Result<Built, Refusal> {
    let what = || "the build could not be started".to_string();
    let file = || tempfile::tempfile().map_err(because(what()));
    let (mut messages, mut said) = (file()?, file()?);
    let copy = |file: &File| file.try_clone().map_err(because(what()));
    cargo.stdout(copy(&messages)?).stderr(copy(&said)?);
    let mut child = cargo.process_group(0).spawn().map_err(because(what()))?;
    let ended = worker::wait(&mut child, most.time, most.together, stop);
    Ok(match ended.map_err(because(what()))?.status() {
        Ok(status) if status.success() => Built::Yes(text(&mut messages)),
        Ok(status) => {
            stop.hear(status);
            Built::No(text(&mut said))
        }
        Err(why) => Built::No(format!("building it takes too much: {why}")),
    })
}

/// What a file has, up to what a person may read.
fn text(file: &mut File) -> String {
    let mut bytes = Vec::new();
    let read = file.rewind().and_then(|()| file.take(BUILD_TEXT_MAX).read_to_end(&mut bytes));
    read.map_or_else(|error| error.to_string(), |_| String::from_utf8_lossy(&bytes).into_owned())
}

/// The folder of a crate, and the files beside the manifest of the workspace that it belongs to;
/// not the workspace's other crates.
fn seen_of(manifest: &Path) -> Vec<PathBuf> {
    let folder = manifest.parent().unwrap_or(Path::new("/"));
    let is_workspace = |above: &&Path| {
        let text = fs::read_to_string(above.join("Cargo.toml"));
        text.is_ok_and(|text| text.lines().any(|line| line == "[workspace]"))
    };
    let workspace = folder.ancestors().skip(1).find(is_workspace);
    let beside = workspace.and_then(|workspace| fs::read_dir(workspace).ok());
    let beside = beside.into_iter().flatten().flatten().map(|entry| entry.path());
    beside.filter(|path| path.is_file()).chain([folder.to_path_buf()]).collect()
}

/// What a kit lists as a submission's.
fn sources(kit: &Package) -> Result<Vec<PathBuf>, Refusal> {
    let listed = kit.metadata.as_ref().and_then(|metadata| metadata.get("lab")?.get("sources"));
    let listed =
        listed.and_then(|listed| serde_json::from_value::<Vec<PathBuf>>(listed.clone()).ok());
    let inside = |path: &PathBuf| {
        path.components().all(|part| matches!(part, std::path::Component::Normal(_)))
    };
    listed.filter(|listed| !listed.is_empty() && listed.iter().all(inside)).ok_or_else(|| {
        Refusal::new(
            "the kit's Cargo.toml does not list what is taken of a submission: it needs a section \
             [package.metadata.lab] with a line like sources = [\"src\"]",
        )
    })
}

fn metadata(kit: &Path) -> Result<Metadata, Refusal> {
    let mut command = workspace::cargo();
    command.args(["metadata", "--format-version", "1"]).current_dir(kit);
    let output = finish(&mut command)?;
    serde_json::from_slice(&output.stdout).map_err(because("cargo's metadata cannot be read"))
}

/// Where the compiler is, itself and not what chooses one.
fn toolchain() -> Result<PathBuf, Refusal> {
    let output = finish(Command::new("rustc").args(["--print", "sysroot"]))?;
    Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}

/// Runs a command to its end.
fn finish(command: &mut Command) -> Result<Output, Refusal> {
    let what = format!("{} {}", command.get_program().display(), last_words(command));
    let output = command.stdin(Stdio::null()).output().map_err(because(what.clone()))?;
    match output.status.success() {
        true => Ok(output),
        false => {
            Err(Refusal(format!("{what}: {}", String::from_utf8_lossy(&output.stderr).trim())))
        }
    }
}

fn last_words(command: &Command) -> String {
    let words: Vec<_> = command.get_args().map(std::ffi::OsStr::to_string_lossy).collect();
    words[words.len().saturating_sub(4)..].join(" ")
}

/// What may still be taken of a submission.
struct Left {
    /// Files and folders.
    files: usize,
    bytes: u64,
}

impl Left {
    /// One more of so many bytes.
    fn take(&mut self, bytes: u64) -> io::Result<()> {
        match (self.files.checked_sub(1), self.bytes.checked_sub(bytes)) {
            (Some(files), Some(bytes)) => {
                *self = Self { files, bytes };
                Ok(())
            }
            _ => {
                let most = format!("more than {FILES_MAX} files or {} MB", BYTES_MAX >> 20);
                Err(io::Error::other(most))
            }
        }
    }
}

/// What a kit lists must be there itself, and so must the folders that it lies in.
fn are_no_links(submission: &Path, source: &Path) -> io::Result<()> {
    let within = source.ancestors().filter(|path| !path.as_os_str().is_empty());
    within.map(|path| submission.join(path)).try_for_each(|path| {
        let kind = fs::symlink_metadata(path)?.file_type();
        match kind.is_file() || kind.is_dir() {
            true => Ok(()),
            false => Err(io::Error::other("it is neither a file nor a folder")),
        }
    })
}

/// What is run is run by another user, whatever may be seen of the files that we make elsewhere.
pub(super) fn open_to_all(path: &Path) -> io::Result<()> {
    let mode = if path.is_dir() { 0o755 } else { 0o644 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Makes a folder, and those above it that are not there.
fn make_for_all(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    folder.parent().map_or(Ok(()), make_for_all)?;
    fs::create_dir(folder)?;
    open_to_all(folder)
}

/// Copies regular files. Links are left out: they would lead elsewhere.
fn copy(from: &Path, to: &Path, left: &mut Left) -> io::Result<()> {
    let data = fs::symlink_metadata(from)?;
    if data.is_dir() {
        left.take(0)?;
        make_for_all(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            copy(&entry.path(), &to.join(entry.file_name()), left)?;
        }
    } else if data.is_file() {
        left.take(data.len())?;
        to.parent().map_or(Ok(()), make_for_all)?;
        fs::write(to, fs::read(from)?)?;
        open_to_all(to)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    /// Of a kit that lists `source`, in `folder`, where there is a `submission` as well.
    fn course(folder: &TempDir, source: &str) -> (Course, PathBuf) {
        let path = |name: &str| folder.path().join(name);
        let course = Course {
            kit: path("kit"),
            package: "mine".to_string(),
            sources: vec![source.into()],
            work: path("work"),
            toolchain: path("toolchain"),
            local: Vec::new(),
        };
        fs::create_dir_all(path("submission/src/raft")).expect("there is room");
        (course, path("submission"))
    }

    #[test]
    fn of_a_submission_only_the_files_are_taken_that_the_kit_lists() {
        let folder = TempDir::new().expect("there is room");
        let (course, submission) = course(&folder, "src/raft/log.rs");
        for name in ["src/lib.rs", "src/raft/log.rs", "src/raft/rpc.rs", "build.rs"] {
            fs::write(submission.join(name), name).expect("there is room");
        }
        assert_eq!(course.take(&submission), Ok(()));
        let taken = |name: &str| fs::read_to_string(course.taken().join(name)).ok();
        assert_eq!(taken("src/raft/log.rs").as_deref(), Some("src/raft/log.rs"));
        for name in ["src/lib.rs", "src/raft/rpc.rs", "build.rs"] {
            assert_eq!(taken(name), None, "{name}");
        }
    }

    #[test]
    fn nothing_is_taken_from_behind_a_link() {
        let folder = TempDir::new().expect("there is room");
        let (course, submission) = course(&folder, "src/raft/log.rs");
        fs::create_dir_all(folder.path().join("theirs")).expect("there is room");
        fs::write(folder.path().join("theirs/log.rs"), "a solution").expect("there is room");
        fs::remove_dir(submission.join("src/raft")).expect("it was made");
        symlink(folder.path().join("theirs"), submission.join("src/raft")).expect("there is room");
        let refused = course.take(&submission).expect_err("it is behind a link");
        assert_eq!(refused, "src/raft/log.rs cannot be taken: it is neither a file nor a folder");
    }

    #[test]
    fn more_folders_than_anybody_needs_are_not_taken() {
        let folder = TempDir::new().expect("there is room");
        let (course, submission) = course(&folder, "src");
        for number in 0..FILES_MAX {
            fs::create_dir(submission.join("src").join(number.to_string())).expect("there is room");
        }
        let refused = course.take(&submission).expect_err("it is too much");
        assert_eq!(refused, "src cannot be taken: more than 1000 files or 16 MB");
    }
}
