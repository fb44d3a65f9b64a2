//! Where a log is, and how it is read: a line at a time, whatever its size.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use crate::refusal::{Refusal, because};
use crate::workspace;

/// A line longer than this is read in pieces of this size.
const LINE_BYTES_MAX: u64 = 4 << 20;
/// A trace's files, the better one first.
const FILES: [&str; 2] = ["events.jsonl", "log.txt"];

/// A log that somebody wants to see.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// As long as it comes.
    Live,
    /// From a file, which can be read twice.
    File(PathBuf),
}

impl Source {
    /// What an argument means: a file, a folder with a trace, the name of one in target/lab, `-`
    /// for what comes in; without one, what is piped in, or else the newest trace.
    ///
    /// # Errors
    /// If there is nothing such.
    pub(crate) fn find(argument: Option<&Path>) -> Result<Self, Refusal> {
        match argument {
            None if is_fed(io::stdin()) => Ok(Self::Live),
            None => newest(&workspace::target_folder()?.join("lab")).map(Self::File),
            Some(path) if path == Path::new("-") => Ok(Self::Live),
            Some(path) if path.exists() => of_path(path),
            Some(name) => of_name(name),
        }
    }
}

/// The trace of this name in target/lab.
fn of_name(name: &Path) -> Result<Source, Refusal> {
    let shown = name.display();
    let folder = workspace::target_folder().map_err(|Refusal(why)| {
        Refusal(format!("there is no {shown}, and no trace of that name can be looked for: {why}"))
    })?;
    let folder = folder.join("lab");
    match folder.join(name) {
        trace if trace.is_dir() => of_path(&trace),
        _ => Err(Refusal(format!(
            "there is no file {shown}, and no trace of that name in {}{}",
            folder.display(),
            in_there(&folder)
        ))),
    }
}

/// The names of a folder's traces.
fn in_there(folder: &Path) -> String {
    let mut names: Vec<String> =
        traces(folder).map(|(name, _)| name.to_string_lossy().into_owned()).collect();
    names.sort();
    match names.is_empty() {
        true => ", which has none".to_string(),
        false => format!(", which has {}", names.join(", ")),
    }
}

/// The folder's traces by name, each with its better file.
fn traces(folder: &Path) -> impl Iterator<Item = (OsString, PathBuf)> + use<> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| match of_path(&entry.path()) {
        Ok(Source::File(file)) if entry.path().is_dir() => Some((entry.file_name(), file)),
        _ => None,
    })
}

/// Whether something is piped, or read from a file, into this process.
fn is_fed(input: impl std::os::fd::AsFd) -> bool {
    let file = input.as_fd().try_clone_to_owned().map(File::from);
    let kind = file.and_then(|file| file.metadata()).map(|data| data.file_type());
    kind.is_ok_and(|kind| kind.is_fifo() || kind.is_file())
}

fn of_path(path: &Path) -> Result<Source, Refusal> {
    if !path.is_dir() {
        return Ok(Source::File(path.to_path_buf()));
    }
    let file = FILES.iter().map(|name| path.join(name)).find(|file| file.is_file());
    file.map(Source::File).ok_or_else(|| {
        Refusal(format!(
            "{} holds neither events.jsonl nor log.txt. A failing run in sim leaves them in \
             target/lab/TEST-SEED",
            path.display()
        ))
    })
}

/// The trace that was written last.
fn newest(folder: &Path) -> Result<PathBuf, Refusal> {
    let files = traces(folder).map(|(_, file)| file);
    let written = |file: &PathBuf| fs::metadata(file).and_then(|data| data.modified()).ok();
    files.max_by_key(written).ok_or_else(|| {
        Refusal(format!(
            "there is no trace in {}. A failing run in sim leaves one; a run's log lines can be \
             piped in: lab replay TEST --seed N 2>&1 | lab logs -",
            folder.display()
        ))
    })
}

/// The lines of a log, with their numbers from 1 on.
pub(crate) struct Lines<R> {
    input: R,
    number: u64,
    buffer: Vec<u8>,
}

impl Lines<BufReader<File>> {
    pub(crate) fn open(path: &Path) -> Result<Self, Refusal> {
        let file =
            File::open(path).map_err(because(format!("{} cannot be read", path.display())))?;
        Ok(Self::new(BufReader::new(file)))
    }
}

impl<R: BufRead> Lines<R> {
    pub(crate) fn new(input: R) -> Self {
        Self { input, number: 0, buffer: Vec::new() }
    }

    /// The next line, without its end.
    pub(crate) fn next(&mut self) -> io::Result<Option<String>> {
        self.buffer.clear();
        self.input.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut self.buffer)?;
        if self.buffer.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        let line = self.buffer.strip_suffix(b"\n").unwrap_or(&self.buffer);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        Ok(Some(String::from_utf8_lossy(line).into_owned()))
    }

    /// The number of the line that was read last.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Whether the line that was read last has an end: a file may stop in the middle of one.
    pub(crate) fn is_whole(&self) -> bool {
        self.buffer.ends_with(b"\n")
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn write(folder: &Path, name: &str) -> PathBuf {
        fs::create_dir_all(folder).expect("a folder can be made");
        let path = folder.join(name);
        fs::write(&path, "").expect("a file can be written");
        path
    }

    #[test]
    fn a_folder_means_its_events_or_else_its_log() {
        let folder = TempDir::new().expect("a folder can be made");
        let refusal = of_path(folder.path()).expect_err("it holds nothing").0;
        assert!(refusal.contains("holds neither events.jsonl nor log.txt"), "{refusal}");
        let log = write(folder.path(), "log.txt");
        assert_eq!(of_path(folder.path()), Ok(Source::File(log)));
        let events = write(folder.path(), "events.jsonl");
        assert_eq!(of_path(folder.path()), Ok(Source::File(events)));
    }

    #[test]
    fn the_newest_trace_is_the_one_written_last_and_reports_alone_are_none() {
        let folder = TempDir::new().expect("a folder can be made");
        let refusal = newest(folder.path()).expect_err("there is none").0;
        assert!(refusal.contains("there is no trace in"), "{refusal}");
        let (one, two) = (folder.path().join("b_2A-1"), folder.path().join("a_2A-2"));
        let first = write(&one, "events.jsonl");
        let second = write(&two, "log.txt");
        write(&folder.path().join("c_2A-3"), "report.txt");
        let hour = labrt::time::Duration::from_secs(3_600);
        let age = |path: &Path, earlier| {
            let file = File::options().write(true).open(path).expect("it exists");
            let now = file.metadata().and_then(|data| data.modified()).expect("it has a time");
            file.set_modified(now - hour * earlier).expect("its time can be set");
        };
        age(&second, 1);
        assert_eq!(newest(folder.path()), Ok(first.clone()));
        age(&first, 2);
        assert_eq!(newest(folder.path()), Ok(second));
    }

    #[test]
    fn lines_are_numbered_and_half_a_line_is_known() {
        let mut lines = Lines::new(&b"one\r\n\n\xff\nhalf"[..]);
        let mut next = || {
            let line = lines.next().expect("memory can be read");
            (line, lines.number(), lines.is_whole())
        };
        assert_eq!(next(), (Some("one".to_string()), 1, true));
        assert_eq!(next(), (Some(String::new()), 2, true));
        assert_eq!(next(), (Some("\u{fffd}".to_string()), 3, true));
        assert_eq!(next(), (Some("half".to_string()), 4, false));
        assert_eq!(next().0, None);
    }

    #[test]
    fn a_line_without_end_is_read_in_pieces() {
        let endless = io::repeat(b'x').take(LINE_BYTES_MAX * 2 + 1);
        let mut lines = Lines::new(BufReader::new(endless));
        let mut length = || lines.next().expect("it can be read").map(|line| line.len() as u64);
        assert_eq!(length(), Some(LINE_BYTES_MAX));
        assert_eq!(length(), Some(LINE_BYTES_MAX));
        assert_eq!((length(), length()), (Some(1), None));
    }
}
