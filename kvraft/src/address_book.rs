//! Where a cluster's servers are: a file in its folder, by which clients find them.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The folder of a cluster, unless another is named: in the folder where one stands.
pub(crate) const FOLDER: &str = "kvraft-data";

fn file(folder: &Path) -> PathBuf {
    folder.join("addresses")
}

/// Notes the servers' addresses, by number, a line each.
pub(crate) fn write(folder: &Path, addresses: &[SocketAddr]) -> io::Result<()> {
    let lines: String = addresses.iter().map(|address| format!("{address}\n")).collect();
    let aside = folder.join("addresses.new");
    fs::write(&aside, lines)?;
    fs::rename(aside, file(folder))
}

/// The servers of the cluster in this folder.
///
/// # Errors
/// In a sentence, if there is none.
pub(crate) fn read(folder: &Path) -> Result<Vec<SocketAddr>, String> {
    let shown = folder.display();
    let text = fs::read_to_string(file(folder)).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => format!(
            "there is no cluster in {shown}: start one there (kvraft cluster), or say where its \
             servers are (--servers ADDRESS,ADDRESS,...)"
        ),
        _ => format!("{} cannot be read: {error}", file(folder).display()),
    })?;
    let addresses: Result<Vec<_>, _> = text.lines().map(str::parse).collect();
    let addresses = addresses.ok().filter(|addresses: &Vec<_>| !addresses.is_empty());
    addresses.ok_or_else(|| format!("{} is not a list of addresses", file(folder).display()))
}
