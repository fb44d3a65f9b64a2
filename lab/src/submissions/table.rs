//! The table of a class, which is on the disk as far as it is known.

use std::fs::{self, File};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::refusal::{Refusal, because};

/// A row.
#[derive(Serialize)]
pub(super) struct Row<'a> {
    pub(super) submission: &'a str,
    pub(super) status: &'a str,
    pub(super) points: String,
    pub(super) of: u32,
    pub(super) passed: usize,
    pub(super) tests: usize,
    pub(super) parts: String,
    pub(super) first_failure: String,
    /// Its path, or why there is none.
    pub(super) report: String,
}

/// A new file, which goes again if no row came.
pub(super) struct Table {
    path: PathBuf,
    file: File,
    /// Bytes of whole rows that are in the file.
    written: u64,
    /// Rows that are not: the disk was full.
    open: Vec<u8>,
}

impl Table {
    /// # Errors
    /// If the file is there already, or cannot be made.
    pub(super) fn create(path: &Path) -> Result<Self, Refusal> {
        let what = format!("{} cannot be written", path.display());
        let file = File::create_new(path).map_err(because(what))?;
        Ok(Self { path: path.to_path_buf(), file, written: 0, open: Vec::new() })
    }

    /// Adds a row, and those that could not be added before.
    ///
    /// # Errors
    /// If the file has no room for them. They are kept.
    pub(super) fn add(&mut self, row: &Row<'_>) -> io::Result<()> {
        let is_first = self.written == 0 && self.open.is_empty();
        let mut line = csv::WriterBuilder::new().has_headers(is_first).from_writer(Vec::new());
        line.serialize(row).map_err(io::Error::other)?;
        self.open.extend(line.into_inner().map_err(csv::IntoInnerError::into_error)?);
        self.write()
    }

    fn write(&mut self) -> io::Result<()> {
        if let Err(error) = self.try_to_write() {
            // Half a row may have found room.
            let _ = self.file.set_len(self.written);
            return Err(error);
        }
        self.written += self.open.len() as u64;
        self.open.clear();
        Ok(())
    }

    fn try_to_write(&mut self) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(self.written))?;
        self.file.write_all(&self.open)?;
        self.file.sync_data()
    }

    /// The rows that the file still has not got.
    pub(super) fn missing(&mut self) -> String {
        let _ = self.write();
        String::from_utf8_lossy(&self.open).into_owned()
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        if self.written == 0 {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn row(submission: &str) -> Row<'_> {
        Row {
            submission,
            status: "graded",
            points: "1".to_string(),
            of: 2,
            passed: 1,
            tests: 2,
            parts: "2A 1/2".to_string(),
            first_failure: "a, \"b\"".to_string(),
            report: "r.txt".to_string(),
        }
    }

    /// What `submission`'s row looks like.
    fn line(submission: &str) -> String {
        format!("{submission},graded,1,2,1,2,2A 1/2,\"a, \"\"b\"\"\",r.txt\n")
    }

    const HEAD: &str = "submission,status,points,of,passed,tests,parts,first_failure,report\n";

    #[test]
    fn a_row_that_cannot_be_written_is_kept_and_written_with_the_next() {
        let folder = TempDir::new().expect("there is room");
        let path = folder.path().join("grades.csv");
        let mut table = Table::create(&path).expect("there is room");
        table.add(&row("a")).expect("there is room");
        // A file that is open for reading takes as much as a full disk does.
        let mut writable =
            std::mem::replace(&mut table.file, File::open(&path).expect("it is there"));
        assert!(table.add(&row("b")).is_err());
        assert_eq!(table.missing(), line("b"));
        // Half a row, as a full disk takes it.
        fs::write(&path, format!("{HEAD}{}b,gra", line("a"))).expect("there is room");
        writable.seek(SeekFrom::End(0)).expect("it is a file");
        table.file = writable;
        table.add(&row("c")).expect("there is room");
        assert_eq!(table.missing(), "");
        let text = fs::read_to_string(&path).expect("it is there");
        assert_eq!(text, [HEAD, &line("a"), &line("b"), &line("c")].concat());
    }

    #[test]
    fn a_table_without_a_row_leaves_no_file_and_one_that_is_there_is_refused() {
        let folder = TempDir::new().expect("there is room");
        let path = folder.path().join("grades.csv");
        drop(Table::create(&path).expect("there is room"));
        let mut table = Table::create(&path).expect("nothing is there");
        assert!(Table::create(&path).is_err());
        table.add(&row("a")).expect("there is room");
        drop(table);
        assert!(path.exists());
    }
}
