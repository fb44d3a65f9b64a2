//! The files of the kit, and what is filled in.

use super::Kind;
use super::labs::Source;

/// A file's path in the crate, and its text.
type File = (&'static str, &'static str);

/// Lists files of a folder of `kit/`.
macro_rules! files {
    ($folder:literal: $($path:literal),+ $(,)?) => {
        &[$(($path, include_str!(concat!("../../../kit/", $folder, "/", $path)))),+]
    };
}

/// Every crate has these.
const COMMON: &[File] = files!("common":
    ".github/workflows/grade.yml",
    ".gitignore",
    "Cargo.toml",
    "README.md",
    "clippy.toml",
    "src/not_yet.rs",
);

/// Those of this repository.
const OURS: &[File] = &[("rustfmt.toml", include_str!("../../../rustfmt.toml"))];

const LAB2: &[File] = files!("lab2":
    "LAB2.md",
    "src/raft.rs",
    "src/raft/election.rs",
    "src/raft/replication.rs",
    "src/raft/rpc.rs",
    "tests/my_tests.rs",
);

const LAB3: &[File] = files!("lab3":
    "LAB3.md",
    "src/kv.rs",
);

/// What ties a crate together depends on what is in it.
const RAFT: &[File] = files!("raft":
    "src/lib.rs",
    "tests/labs.rs",
);

const KV: &[File] = files!("kv":
    "src/lib.rs",
    "tests/labs.rs",
    "tests/my_kv_tests.rs",
);

const BOTH: &[File] = files!("both":
    "src/lib.rs",
    "tests/labs.rs",
    "tests/my_kv_tests.rs",
);

/// The files of a crate in which this is written.
pub(super) fn of(kind: Kind) -> impl Iterator<Item = File> {
    let groups: &[&[File]] = match kind {
        Kind::Raft => &[COMMON, OURS, LAB2, RAFT],
        Kind::Kv => &[COMMON, OURS, LAB3, KV],
        Kind::Both => &[COMMON, OURS, LAB2, LAB3, BOTH],
    };
    groups.iter().copied().flatten().copied()
}

/// Puts the crate's name in place of `my-raft`, the first part that it has and the name of a test
/// in place of `@PART` and `@TEST`, and in a `Cargo.toml` the labs' crates in place of `"@labs"`.
/// Only a service by itself has our Raft beneath it.
pub(super) fn fill_in(text: &str, name: &str, labs: &Source, kind: Kind) -> String {
    let line = |line: &str| match line.split_once(" = \"@labs\"") {
        None => Some(format!("{line}\n")),
        Some(("raft", _)) if kind != Kind::Kv => None,
        Some((dependency, rest)) => {
            let (source, rest) = (labs.dependency(dependency), rest.trim_end());
            Some(format!("{dependency} = {source}{rest}\n"))
        }
    };
    let text: String = text.lines().filter_map(line).collect();
    let (part, test) = match kind {
        Kind::Raft | Kind::Both => ("2A", "initial_election"),
        Kind::Kv => ("3A", "snapshot_recover"),
    };
    let text = text
        .replace("@PART", part)
        .replace("@TEST", test)
        .replace("@INSTALL", &labs.installation());
    text.replace("my-raft", name).replace("my_raft", &name.replace('-', "_"))
}
