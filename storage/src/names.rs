//! The files of a store, by their names.

use std::io;

use crate::fs::FileSystem;

/// What a file that is being written is called until it is whole.
const ASIDE: &str = ".new";

/// The epoch's journal.
pub(crate) fn journal(epoch: u64) -> String {
    format!("journal-{epoch}")
}

/// The snapshot that came with this epoch.
pub(crate) fn snapshot(epoch: u64) -> String {
    format!("snapshot-{epoch}")
}

/// What a file is called before it is whole.
pub(crate) fn aside(name: &str) -> String {
    format!("{name}{ASIDE}")
}

/// What a file of ours is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Journal(u64),
    Snapshot(u64),
    Aside,
}

/// None for a file that is none of ours.
pub(crate) fn kind(name: &str) -> Option<Kind> {
    let (kind, number) = name.split_once('-')?;
    let is_aside = number.ends_with(ASIDE);
    let number = number.strip_suffix(ASIDE).unwrap_or(number).parse().ok()?;
    match kind {
        "journal" | "snapshot" if is_aside => Some(Kind::Aside),
        "journal" => Some(Kind::Journal(number)),
        "snapshot" => Some(Kind::Snapshot(number)),
        _ => None,
    }
}

/// Our files in a folder.
pub(crate) fn list(files: &impl FileSystem) -> io::Result<Vec<(String, Kind)>> {
    let ours = |name: String| kind(&name).map(|kind| (name, kind));
    Ok(files.list()?.into_iter().filter_map(ours).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_ours_are_ours() {
        assert_eq!(kind(&journal(12)), Some(Kind::Journal(12)));
        assert_eq!(kind(&snapshot(0)), Some(Kind::Snapshot(0)));
        assert_eq!(kind(&aside(&journal(12))), Some(Kind::Aside));
        for other in ["LOCK", "journal", "journal-", "journal-x", "journal-1.bak", "notes-1"] {
            assert_eq!(kind(other), None, "{other}");
        }
    }
}
