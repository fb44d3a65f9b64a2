//! What is kept of failed runs, beside their line in the table: the report, and in sim the trace.
//!
//! A campaign may fail a million times in one way. So of each kind of failure of a test only the
//! first few are had again and kept, and in all no more than a folder that a person can look
//! through.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::PathBuf;

use labrt::replay::trace_folder_of;

use crate::record::{Key, Record};
use crate::selection::Selected;
use crate::stop::Stop;
use crate::worker::{self, How};

/// Of one kind.
const OF_A_KIND_MAX: usize = 2;
/// In all.
const COUNT_MAX: usize = 40;
/// A trace above this is not kept; the seed has it again.
const BYTES_MAX: u64 = 64 << 20;

/// Which failures are kept so far.
#[derive(Default)]
pub(crate) struct Artefacts {
    kinds: HashMap<(Key, String), usize>,
    count: usize,
}

impl Artefacts {
    /// Whether this failure is worth it; if so, it counts as kept.
    pub(crate) fn wants(&mut self, record: &Record, signature: String) -> bool {
        let of_kind = self.kinds.entry((record.key(), signature)).or_default();
        let wanted = *of_kind < OF_A_KIND_MAX && self.count < COUNT_MAX;
        *of_kind += usize::from(wanted);
        self.count += usize::from(wanted);
        wanted
    }
}

/// Has a failure again, and keeps its report where the test program keeps its traces. Gives the
/// folder.
///
/// # Errors
/// If it cannot be had or kept, or a person did not wait for it.
pub(crate) fn keep(test: &Selected, seed: u64, how: &How, stop: &Stop) -> io::Result<PathBuf> {
    let report = worker::report(test, seed, how, stop)?;
    // One that says nothing was ended before it began.
    if stop.was_told() || report.is_empty() {
        return Err(io::Error::other("it was stopped before its report was there"));
    }
    let folder = trace_folder_of(&test.target.program, &test.test().name, seed);
    // A program that is not in its place is run in its target's folder, which is where it stands.
    let folder = test.target.folder.join(folder);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("report.txt"), report)?;
    for file in ["log.txt", "events.jsonl"] {
        let path = folder.join(file);
        if fs::metadata(&path).is_ok_and(|data| data.len() > BYTES_MAX) {
            fs::remove_file(path)?;
        }
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::signature;

    fn record(test: String) -> Record {
        Record {
            test,
            package: "mine".to_string(),
            target: "labs".to_string(),
            world: "sim".to_string(),
            strategy: None,
            seed: 0,
            took_us: 0,
            time_us: 0,
            failure: None,
        }
    }

    #[test]
    fn of_each_kind_a_few_are_kept_and_of_all_kinds_no_more_than_one_can_look_through() {
        let mut artefacts = Artefacts::default();
        let test = record("a_2A".to_string());
        let mut wants = |failure: &str| artefacts.wants(&test, signature(failure));
        assert!(wants("no leader within 5 s") && wants("no leader within 6 s"));
        assert!(!wants("no leader within 7 s"));
        assert!(wants("two leaders in term 3"));
        let others = (0..1_000).map(|number| record(format!("{number}_2A")));
        let kept = others.filter(|test| artefacts.wants(test, String::new())).count();
        assert_eq!(kept, COUNT_MAX - 3);
    }
}
