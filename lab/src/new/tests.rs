use std::collections::BTreeSet;

use super::labs::Source;
use super::*;

const KINDS: [Kind; 3] = [Kind::Raft, Kind::Kv, Kind::Both];

/// Below a folder of this repository.
fn paths_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder of the repository");
    let paths = entries.map(|entry| entry.expect("an entry of a folder").path());
    paths.flat_map(|path| if path.is_dir() { paths_below(&path) } else { vec![path] }).collect()
}

#[test]
fn every_file_of_the_kit_is_in_some_crate() {
    let kit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kit");
    let below = |path: PathBuf| {
        path.strip_prefix(&kit).expect("it is below").components().skip(1).collect()
    };
    let there: BTreeSet<PathBuf> = paths_below(&kit).into_iter().map(below).collect();
    let used: BTreeSet<PathBuf> =
        KINDS.into_iter().flat_map(files::of).map(|(path, _)| PathBuf::from(path)).collect();
    let of_repository = [PathBuf::from("rustfmt.toml")];
    assert_eq!(used.difference(&there).cloned().collect::<Vec<_>>(), of_repository);
    let forgotten: Vec<&PathBuf> = there.difference(&used).collect();
    assert!(forgotten.is_empty(), "{forgotten:?}");
}

#[test]
fn what_our_own_code_must_not_use_a_students_must_not_either() {
    let clippy = |text: &'static str| text.lines().filter(|line| line.contains("path = "));
    let (_, of_kit) =
        files::of(Kind::Both).find(|(path, _)| *path == "clippy.toml").expect("it is there");
    let of_kit: BTreeSet<&str> = clippy(of_kit).collect();
    let ours: BTreeSet<&str> = clippy(include_str!("../../../clippy.toml")).collect();
    assert!(ours.len() > 20, "{ours:?}");
    let missing: Vec<_> = ours.difference(&of_kit).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn no_file_is_in_a_crate_twice() {
    for kind in KINDS {
        let paths: Vec<&str> = files::of(kind).map(|(path, _)| path).collect();
        assert_eq!(BTreeSet::from_iter(&paths).len(), paths.len(), "{paths:?}");
    }
}

#[test]
fn a_name_is_that_of_a_crate_or_refused_with_a_reason() {
    for name in ["my-raft", "raft2", "a", "labs_of_alice", "my-tests"] {
        assert_eq!(why_no_name(name), None, "{name}");
    }
    for (name, reason) in [
        ("", "begin with a small letter"),
        ("6.824", "begin with a small letter"),
        ("MyRaft", "begin with a small letter"),
        ("_raft", "begin with a small letter"),
        ("myRaft", "small letters, digits"),
        ("my raft", "small letters, digits"),
        ("räft", "small letters, digits"),
        ("match", "word of Rust's"),
        ("raft", "another crate"),
        ("proc-macro", "another crate"),
    ] {
        assert!(why_no_name(name).is_some_and(|why| why.contains(reason)), "{name:?}");
    }
}

#[test]
fn only_a_service_by_itself_has_our_raft_beneath_it() {
    let labs = Source::Path("../labs".to_string());
    let manifest = |kind| {
        let (_, text) =
            files::of(kind).find(|(path, _)| *path == "Cargo.toml").expect("it is there");
        files::fill_in(text, "alices-kv", &labs, kind)
    };
    for kind in KINDS {
        let text = manifest(kind);
        assert_eq!(
            text.contains("\nraft = { path = \"../labs/raft\" }"),
            kind == Kind::Kv,
            "{text}"
        );
        assert!(text.contains("name = \"alices-kv\"\n"), "{text}");
        assert!(text.contains("\nlabrt = { path = \"../labs/labrt\" }"), "{text}");
        assert!(!text.contains("@labs") && !text.contains("kvraft") && !text.contains("plain"));
    }
}

#[test]
fn a_readme_names_parts_and_tests_that_the_crate_has() {
    let labs = Source::Path("../labs".to_string());
    for (kind, part, other) in
        [(Kind::Raft, "2A", "3A"), (Kind::Kv, "3A", "2A"), (Kind::Both, "2A", "3A")]
    {
        let readme = files::of(kind).find(|(path, _)| *path == "README.md");
        let text = files::fill_in(readme.expect("it is there").1, "alices", &labs, kind);
        let says = |part: &str| {
            ["cargo test", "lab grade"].map(|it| text.contains(&format!("{it} {part}")))
        };
        assert_eq!((says(part), says(other)), ([true; 2], [false; 2]), "{text}");
        assert!(!["@PART", "@TEST", "@INSTALL"].iter().any(|mark| text.contains(mark)), "{text}");
    }
}

#[test]
fn where_cargo_cannot_start_the_program_it_says_how_to_install_it() {
    let near = Source::Path("../labs".to_string());
    let words = "lab = \"run --release --manifest-path ../labs/Cargo.toml --package lab --\"\n";
    assert!(near.cargo_config().is_some_and(|config| config.ends_with(words)));
    let spaced = Source::Path("/home/alice/my labs".to_string());
    assert_eq!(spaced.cargo_config(), None);
    assert_eq!(spaced.installation(), "cargo install --path \"/home/alice/my labs/lab\"");
    let git = Source::Git("https://git.example/labs".to_string());
    assert_eq!(git.cargo_config(), None);
    assert_eq!(git.installation(), "cargo install --git https://git.example/labs lab");
}

#[test]
fn a_checkout_near_by_is_named_relative_and_one_far_away_from_the_root() {
    let labs = Labs::Checkout("/home/alice/raft-labs".into());
    for (dir, path) in [
        ("/home/alice/my-raft", "../raft-labs"),
        ("/home/alice/raft-labs/my-raft", ".."),
        ("/home/alice/work/my-raft", "../../raft-labs"),
        ("/home/alice/work/labs/my-raft", "/home/alice/raft-labs"),
        ("/tmp/my-raft", "/home/alice/raft-labs"),
    ] {
        let source = labs.seen_from(Path::new(dir));
        assert_eq!(source, Ok(Source::Path(path.to_string())), "{dir}");
        let warning = source.ok().and_then(|source| source.warning());
        assert_eq!(warning.is_some(), path.starts_with('/'), "{dir}: {warning:?}");
    }
}

#[test]
fn a_url_is_a_git_repository_and_a_path_must_be_a_checkout() {
    let url = "https://example.org/raft-labs";
    let labs = Labs::find(Some(url), Kind::Raft);
    assert_eq!(labs, Ok(Labs::Git(url.to_string())));
    let source = Source::Git(url.to_string());
    assert_eq!(source.dependency("labrt"), "{ git = \"https://example.org/raft-labs\" }");
    let Err(Refusal(nowhere)) = Labs::find(Some("/nowhere"), Kind::Raft) else {
        panic!("there is no such folder")
    };
    assert!(nowhere.contains("--deps /nowhere: there is no such folder"), "{nowhere}");
    let Err(Refusal(other)) = Labs::find(Some("/"), Kind::Raft) else {
        panic!("that is no checkout")
    };
    assert!(other.contains("no checkout of raft-labs, since contract/Cargo.toml"), "{other}");
}
