//! A folder of the machine's file system.

use std::fs::{self, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::error::OpenError;
use crate::fs::{File, FileSystem};
use crate::names::{Kind, kind};

/// Whoever has this file locked has the folder.
const LOCK: &str = "LOCK";

/// A folder that belongs to one server at a time, for as long as it lives.
pub struct Directory {
    path: PathBuf,
    /// Held, not used: the lock goes with it, also when the process is killed.
    _lock: fs::File,
}

impl Directory {
    /// Takes a folder, which is made if there is none.
    ///
    /// # Errors
    /// If it cannot be made or written to, or if another server has it.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let failed = |error| failed("open", path, &error);
        Self::make(path)?;
        let file = path.join(LOCK);
        let lock = OpenOptions::new().create(true).write(true).truncate(false).open(&file);
        let lock = lock.map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {
                // A server that was killed between a change of names and its sync has left names
                // that the machine may still forget. Whoever reads them may answer for them.
                sync_folder(path).map_err(failed)?;
                Ok(Self { path: path.to_owned(), _lock: lock })
            }
            Err(TryLockError::WouldBlock) => Err(OpenError::in_use(&path.display().to_string())),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// Makes a folder, and those that it would be in, durably; one that is there stays as it is.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn make(path: &Path) -> Result<(), OpenError> {
        let above = path.parent().filter(|it| *it != "").unwrap_or(Path::new("."));
        match fs::create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Self::make(above)?;
                fs::create_dir(path).map_err(|error| failed("make", path, &error))?;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && !path.is_dir() => {
                return Err(failed("make", path, &io::ErrorKind::NotADirectory.into()));
            }
            Err(error) if !path.is_dir() => return Err(failed("make", path, &error)),
            // Whoever made it may have been killed before the next step.
            _ => {}
        }
        sync_folder(above).map_err(|error| failed("sync", above, &error))
    }

    /// Whether a server has its data in a folder; not if there is no such folder.
    ///
    /// # Errors
    /// If it cannot be looked into.
    pub fn has_data(path: &Path) -> io::Result<bool> {
        match list(path) {
            Ok(names) => Ok(names.iter().any(|name| matches!(kind(name), Some(Kind::Journal(_))))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

fn failed(tried: &'static str, path: &Path, error: &io::Error) -> OpenError {
    OpenError::io(tried, &path.display().to_string(), error)
}

fn list(path: &Path) -> io::Result<Vec<String>> {
    let names = fs::read_dir(path)?.map(|entry| Ok(entry?.file_name()));
    // A name that is not text is none of ours.
    let names: io::Result<Vec<_>> = names.collect();
    Ok(names?.into_iter().filter_map(|name| name.into_string().ok()).collect())
}

/// A folder is synced through a file handle of its own.
fn sync_folder(path: &Path) -> io::Result<()> {
    fs::File::open(path)?.sync_all()
}

impl FileSystem for Directory {
    type File = fs::File;

    fn create(&self, name: &str) -> io::Result<fs::File> {
        fs::File::create(self.file(name))
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        fs::read(self.file(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.file(from), self.file(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.file(name))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        list(&self.path)
    }

    fn sync_folder(&self) -> io::Result<()> {
        sync_folder(&self.path)
    }

    fn path_of(&self, name: &str) -> String {
        self.file(name).display().to_string()
    }
}

impl File for fs::File {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let mut file = self;
        file.write_all(bytes)
    }

    /// The length is synced too, as it is needed to read the bytes back; times are not.
    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}
