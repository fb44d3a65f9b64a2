//! Where a cluster's servers are: a file in its folder, by which clients find them.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The folder of a cluster, unless another is named: in the folder where one stands.
pub(crate) const FOLDER: &str = "kvraft-data";

fn file(folder: &Path) -> PathBuf {
    folder.join("addresses")
}

/// Notes the servers' addresses, by number, a line each; durably, for they tell who is a member.
pub(crate) fn write(folder: &Path, addresses: &[SocketAddr]) -> io::Result<()> {
    let lines: String = addresses.iter().map(|address| format!("{address}\n")).collect();
    let aside = folder.join("addresses.new");
    let mut book = File::create(&aside)?;
    book.write_all(lines.as_bytes())?;
    book.sync_all()?;
    fs::rename(aside, file(folder))?;
    File::open(folder)?.sync_all()
}

/// The servers of the cluster in this folder, if there is one.
///
/// # Errors
/// In a sentence, if there is one and its servers cannot be told.
pub(crate) fn find(folder: &Path) -> Result<Option<Vec<SocketAddr>>, String> {
    let book = file(folder);
    let text = match fs::read_to_string(&book) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text.map_err(|error| format!("{} cannot be read: {error}", book.display()))?,
    };
    let addresses: Result<Vec<_>, _> = text.lines().map(str::parse).collect();
    let addresses = addresses.ok().filter(|addresses: &Vec<_>| !addresses.is_empty());
    addresses.map(Some).ok_or_else(|| {
        format!(
            "{} is not a list of addresses: it must have a line for each server, as 127.0.0.1:7000",
            book.display()
        )
    })
}

/// The servers of the cluster in this folder.
///
/// # Errors
/// In a sentence, if there is none.
pub(crate) fn read(folder: &Path) -> Result<Vec<SocketAddr>, String> {
    find(folder)?.ok_or_else(|| {
        format!(
            "there is no cluster in {}: start one there (kvraft cluster), or say where its \
             servers are (--servers ADDRESS,ADDRESS,...)",
            folder.display()
        )
    })
}
