//! The test targets of the crate that we stand in: found and built by cargo, and asked what they
//! have.

use std::env;
use std::fs::File;
use std::io::{BufRead as _, BufReader, IsTerminal as _, Read as _, Seek as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use harness::runner::protocol::{self, Description, Event, TestInfo};
use serde::Deserialize;
use tempfile::TempDir;

use crate::refusal::{Refusal, because};
use crate::stop::Stop;
use crate::worker::{self, How};
use crate::workspace;

/// Which crates, and how they are built.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct Build {
    /// The crate whose suites are run; may be given several times [default: the one you stand in]
    #[arg(short, long, value_name = "NAME")]
    package: Vec<String>,
    /// The test target, if the crate has several that run the suites
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    /// A test program that was built before, to be run instead: for machines that do not build
    #[arg(long, value_name = "FILE", conflicts_with_all = ["package", "target", "debug"])]
    program: Vec<PathBuf>,
    /// Build without optimisations: the build is faster, the runs are slower
    #[arg(long)]
    debug: bool,
}

/// What a program may tell of itself, and say beside that.
const DESCRIPTION_BYTES_MAX: u64 = 16 << 20;

/// A program that runs suites.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) program: PathBuf,
    /// Where cargo would start it: the crate's folder.
    pub(crate) folder: PathBuf,
    /// The target's name, as in `tests/NAME.rs`.
    pub(crate) name: String,
    pub(crate) package: String,
    pub(crate) tests: Vec<TestInfo>,
}

/// What cargo says of something it built; of the other messages, nothing is looked at.
#[derive(Deserialize)]
struct Artifact {
    executable: Option<PathBuf>,
    manifest_path: PathBuf,
    target: ArtifactTarget,
}

#[derive(Deserialize)]
struct ArtifactTarget {
    name: String,
    kind: Vec<String>,
}

/// Builds the test targets that `build` is about, and asks those that run the suites.
///
/// # Errors
/// If they cannot be built, or none runs the suites.
pub(crate) fn find(build: &Build, how: &How, stop: &Stop) -> Result<Vec<Arc<Target>>, Refusal> {
    if !build.program.is_empty() {
        return build.program.iter().map(|program| given(program, how, stop)).collect();
    }
    asked(build_all(build)?, how, stop)
}

/// Those of the programs that cargo's messages tell of which run the suites.
///
/// # Errors
/// If none does.
pub(crate) fn among(messages: &str, how: &How, stop: &Stop) -> Result<Vec<Arc<Target>>, Refusal> {
    asked(messages.lines().filter_map(test_artifact).collect(), how, stop)
}

fn asked(artifacts: Vec<Artifact>, how: &How, stop: &Stop) -> Result<Vec<Arc<Target>>, Refusal> {
    let mut targets = Vec::new();
    for artifact in artifacts {
        let Some(program) = artifact.executable else { continue };
        let folder = artifact.manifest_path.parent().unwrap_or(Path::new(".")).to_path_buf();
        if let Some(Description { package, tests, .. }) = describe(&program, &folder, how, stop)? {
            let name = artifact.target.name;
            targets.push(Arc::new(Target { program, folder, name, package, tests }));
        }
    }
    if targets.is_empty() {
        return Err(Refusal::new(
            "no test target here runs the suites. A crate that does has tests/labs.rs with the \
             line tests::main!(MyRaft), and says harness = false of it in its Cargo.toml; `lab new \
             DIR` makes one",
        ));
    }
    Ok(targets)
}

/// What a line of cargo's tells, if that is of a test target.
fn test_artifact(line: &str) -> Option<Artifact> {
    let artifact: Artifact = serde_json::from_str(line).ok()?;
    artifact.target.kind.iter().any(|kind| kind == "test").then_some(artifact)
}

/// A program that a person names. Cargo calls what it builds `TARGET-HASH`.
fn given(program: &Path, how: &How, stop: &Stop) -> Result<Arc<Target>, Refusal> {
    let shown = program.display();
    let program = program.canonicalize().map_err(because(format!("{shown} cannot be run")))?;
    let folder = env::current_dir().map_err(because("nobody knows where we stand"))?;
    let Some(Description { package, tests, .. }) = describe(&program, &folder, how, stop)? else {
        return Err(Refusal(format!("{shown} is not a test target that runs the suites")));
    };
    let file = program.file_stem().unwrap_or_default().to_string_lossy();
    let is_hash = |end: &str| end.len() == 16 && end.bytes().all(|byte| byte.is_ascii_hexdigit());
    let name =
        file.rsplit_once('-').filter(|(_, end)| is_hash(end)).map_or(&*file, |(name, _)| name);
    let name = name.to_string();
    Ok(Arc::new(Target { program, folder, name, package, tests }))
}

fn build_all(build: &Build) -> Result<Vec<Artifact>, Refusal> {
    let mut command = workspace::cargo();
    command.args(["test", "--no-run", "--message-format=json-render-diagnostics"]);
    // A first build takes minutes: a person wants to see it go on.
    if !std::io::stderr().is_terminal() {
        eprintln!("building the tests; a first build takes minutes");
        command.arg("--quiet");
    }
    command.args(["--test", build.target.as_deref().unwrap_or("*")]);
    if !build.debug {
        command.arg("--release");
    }
    for package in &build.package {
        command.args(["--package", package]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(because("cargo could not be started"))?;
    let messages = child.stdout.take().map(BufReader::new);
    let lines = messages.into_iter().flat_map(|messages| messages.lines().map_while(Result::ok));
    let tests: Vec<Artifact> = lines.filter_map(|line| test_artifact(&line)).collect();
    let status = child.wait().map_err(because("cargo could not be waited for"))?;
    match status.success() {
        true => Ok(tests),
        false => Err(Refusal::new("there are no tests to run; cargo says why above")),
    }
}

/// What a program that refused to run has said.
fn said(stderr: &str) -> Option<String> {
    let text = stderr.trim();
    let sentence = text.strip_prefix("error: ").unwrap_or(text);
    (!sentence.is_empty()).then(|| sentence.to_owned())
}

/// Asks a program what suites it has; none if it is another kind of test. It has the limits of a
/// run.
fn describe(
    program: &Path,
    folder: &Path,
    how: &How,
    stop: &Stop,
) -> Result<Option<Description>, Refusal> {
    let what = || format!("{} could not be asked for its tests", program.display());
    let mut errors = tempfile::tempfile().map_err(because(what()))?;
    let scratch = TempDir::with_prefix("lab-").map_err(because(what()))?;
    let mut command = how.limits.command(program, folder, scratch.path());
    // Another kind of test knows nothing of requests: all it may do is to list what it has.
    let answer = protocol::ask(&mut command, None).map_err(because(what()))?;
    command.arg("--list").stdout(Stdio::null());
    command.stderr(errors.try_clone().map_err(because(what()))?);
    let mut child = command.process_group(0).spawn().map_err(because(what()))?;
    let end = worker::wait(&mut child, how.silence, how.limits.together, stop);
    let status = end.map_err(because(what()))?.status().map_err(because(what()))?;
    stop.hear(status);
    match text_of(answer).lines().next().map(serde_json::from_str) {
        Some(Ok(Event::Describes(description))) => Ok(Some(description)),
        _ if status.success() => Ok(None),
        // It says itself what is wrong.
        _ => {
            errors.rewind().map_err(because(what()))?;
            Err(Refusal(said(&text_of(errors)).unwrap_or_else(what)))
        }
    }
}

/// What a file still has, as far as anybody wants to know.
fn text_of(file: File) -> String {
    let mut bytes = Vec::new();
    let read = file.take(DESCRIPTION_BYTES_MAX).read_to_end(&mut bytes);
    read.map_or_else(|error| error.to_string(), |_| String::from_utf8_lossy(&bytes).into_owned())
}
