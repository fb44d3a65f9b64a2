//! What the store needs of a file system: as little as possible, so that another one can be put
//! under it that forgets, tears and fails as real ones do.

use std::io;

/// One server's folder, without folders in it.
///
/// What POSIX promises, and no more: bytes of a file survive a crash once the file is synced, and
/// its name, new or changed or removed, once the folder is.
pub trait FileSystem: Send + Sync + 'static {
    /// An open file.
    type File: File;

    /// Makes an empty file; one of that name is emptied.
    ///
    /// # Errors
    /// If the file system says so, as for all that follows.
    fn create(&self, name: &str) -> io::Result<Self::File>;

    /// All of a file's bytes.
    ///
    /// # Errors
    /// See [`FileSystem::create`].
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;

    /// Gives a file another name, at once and as a whole, in place of what had that name.
    ///
    /// # Errors
    /// See [`FileSystem::create`].
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Takes a file away.
    ///
    /// # Errors
    /// See [`FileSystem::create`].
    fn remove(&self, name: &str) -> io::Result<()>;

    /// The names of all files, in any order.
    ///
    /// # Errors
    /// See [`FileSystem::create`].
    fn list(&self) -> io::Result<Vec<String>>;

    /// Blocks until all names are durable.
    ///
    /// # Errors
    /// See [`FileSystem::create`].
    fn sync_folder(&self) -> io::Result<()>;

    /// Where a file is, for a person who has to look at it.
    fn path_of(&self, name: &str) -> String;
}

/// An open file.
pub trait File: Send + Sync + 'static {
    /// Puts bytes at the end.
    ///
    /// # Errors
    /// If the file system says so; then some of the bytes may be there.
    fn append(&self, bytes: &[u8]) -> io::Result<()>;

    /// Blocks until all bytes are durable.
    ///
    /// # Errors
    /// If the file system says so; then nobody knows which bytes since the last time are durable,
    /// and to ask again does not tell.
    fn sync(&self) -> io::Result<()>;
}
