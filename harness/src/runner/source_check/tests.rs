use std::fs;
use std::path::PathBuf;

use super::*;

/// What a student's crate has.
const KIT_TOML: &str = include_str!("../../../../kit/common/clippy.toml");

/// The lines at which a student's `source` uses what is disallowed, and what that is.
fn told(source: &str) -> Vec<(usize, String)> {
    let found = uses(source, &disallowed(KIT_TOML));
    found.into_iter().map(|found| (found.line, found.entry.path)).collect()
}

fn one(line: usize, path: &str) -> Vec<(usize, String)> {
    vec![(line, path.to_string())]
}

#[test]
fn every_entry_of_clippy_toml_is_understood() {
    for (toml, least) in [(CLIPPY_TOML, 20), (KIT_TOML, 60)] {
        let entries = toml.lines().filter(|line| line.contains("path =")).count();
        assert!(entries > least, "{entries}");
        assert_eq!(toml.lines().filter_map(Disallowed::parse).count(), entries);
    }
    for Disallowed { path, advice } in disallowed(KIT_TOML) {
        assert_eq!(told(&format!("use {path};")), one(1, &path));
        let names = ["labrt", "labrpc", "contract::Disk"];
        assert!(names.iter().any(|name| advice.contains(name)), "{path}: {advice}");
    }
}

#[test]
fn an_import_is_told_of_once_however_it_is_written() {
    let mutex = one(1, "std::sync::Mutex");
    assert_eq!(told("use std::sync::Mutex;\nfn f() { Mutex::new(0); }"), mutex);
    assert_eq!(told("use std::sync::{Arc, Mutex};"), mutex);
    assert_eq!(told("use std::{fmt, sync::{Arc, Mutex as Lock}};\ntype A = Lock<u8>;"), mutex);
    assert_eq!(told("pub(crate) use ::std::sync::Mutex;"), mutex);
    assert_eq!(told("use std::sync; use sync::Mutex;"), mutex);
    assert_eq!(
        told("use std::{\n    sync::Arc,\n    thread::sleep,\n};"),
        one(3, "std::thread::sleep")
    );
}

#[test]
fn a_path_is_told_of_where_it_stands() {
    assert_eq!(told("\nfn f() { std::thread::sleep(d) }"), one(2, "std::thread::sleep"));
    assert_eq!(
        told("use std::thread;\n\nfn f() { thread::sleep(d) }"),
        one(3, "std::thread::sleep")
    );
    let sync = "use std::sync::{self, Arc};\nstruct S(sync::Mutex<u8>);";
    assert_eq!(told(sync), one(2, "std::sync::Mutex"));
    assert_eq!(
        told("use std::time as t;\nlet a = t::Instant::now();"),
        one(2, "std::time::Instant")
    );
    assert_eq!(told("use std::sync::*;\nstatic S: Mutex<u8>;"), one(2, "std::sync::Mutex"));
    assert_eq!(told("std::thread::Builder::new().spawn(f)"), one(1, "std::thread::Builder"));
    assert_eq!(told("rand::rng().random()"), one(1, "rand::rng"));
    let twice = "fn f(a: std::sync::Mutex<u8>, b: std::sync::Mutex<u8>) {}";
    assert_eq!(told(twice), one(1, "std::sync::Mutex"));
}

#[test]
fn what_labrt_offers_under_the_same_names_is_fine() {
    for source in [
        "use labrt::sync::{Condvar, Mutex};\nuse std::sync::Arc;\nfn f() { Mutex::new(0); }",
        "use labrt::thread;\nfn f() { thread::sleep(d); thread::spawn(f); }",
        "use std::sync::*; use labrt::sync::Mutex; static S: Mutex<u8>;",
        "use std::thread::available_parallelism;",
        "use std::time::Duration; use labrt::time::Instant; fn f() { Instant::now(); }",
        "fn f(x: X) { x.std::thread; channel(1); sleep(2) }",
        "mod thread; fn f() { thread::sleep(d) }",
        "use std::sync::MutexGuard;",
        "fn f() -> impl Iterator<Item = u8> + use<'a> {} use labrt::sync::Mutex;",
        "use rand::RngExt; use labrt::random::rng;",
    ] {
        assert_eq!(told(source), [], "{source}");
    }
}

#[test]
fn a_name_with_two_meanings_in_a_file_accuses_nobody() {
    let source = "use labrt::thread;\nfn f() { thread::sleep(d) }\nmod a { use std::thread; }";
    assert_eq!(told(source), []);
}

#[test]
fn comments_and_literals_say_what_they_like() {
    for quiet in [
        "// std::thread::sleep",
        "/// use std::sync::Mutex;",
        "/* use std::sync::Mutex; /* std::thread::sleep */ std::thread::spawn */",
        "let a = \"std::thread::sleep \\\" std::sync::Mutex\";",
        "let a = r#\"std::thread::sleep \" std::sync::Mutex\"#;",
        "let a = br\"std::thread::sleep\";",
        "let a = ['\"', '\\'']; let b = \"std::thread::sleep\";",
        "#[doc = \"std::thread::sleep\"] fn f() {}",
        "#[cfg(feature = \"std::thread::sleep\")] fn f() {}",
    ] {
        let source = format!("{quiet}\nfn f<'a>(x: &'a str) {{ std::thread::sleep(d) }}");
        assert_eq!(told(&source), one(2, "std::thread::sleep"), "{source}");
    }
}

#[test]
fn an_item_that_clippy_was_told_to_allow_is_allowed_and_no_other() {
    let after = "\nfn g() { std::thread::sleep(d) }";
    for allowed in [
        "#[allow(clippy::disallowed_types)] use std::sync::Mutex;",
        "#[expect(clippy::disallowed_types, reason = \"std::sync]\")] use std::sync::{Arc, Mutex};",
        "#[allow(clippy::disallowed_methods)] #[inline] fn f() { { std::thread::sleep(d); } }",
        "#[inline] #[allow(clippy::disallowed_methods)] fn f(a: A) -> B { std::thread::spawn(f) }",
        "struct S { #[allow(clippy::disallowed_types)] a: std::sync::Mutex<u8>, b: u8 }",
        "fn f() { #[allow(clippy::disallowed_methods)] std::thread::sleep(d); }",
    ] {
        assert_eq!(told(&format!("{allowed}{after}")), one(2, "std::thread::sleep"), "{allowed}");
    }
    assert_eq!(told(&format!("#![allow(clippy::disallowed_methods)]\n{after}")), []);
    let other = "#[allow(dead_code)] fn f() { std::thread::sleep(d) }";
    assert_eq!(told(other), one(1, "std::thread::sleep"));
}

#[test]
fn a_source_that_does_not_compile_is_read_to_its_end() {
    for source in
        ["use", "use std::{", "use std::{;", "#[", "\"", "r#\"", "'", "/*", "use a::{}", "b'"]
    {
        assert_eq!(told(source), [], "{source}");
    }
}

#[test]
fn what_is_outside_its_run_is_not_for_a_student() {
    assert_eq!(told("use std::fs;\nfn f() { fs::write(p, b) }"), one(2, "std::fs::write"));
    assert_eq!(told("use std::{env, io};\nlet a = env::var(\"A\");"), one(2, "std::env::var"));
    assert_eq!(told("static A: std::sync::OnceLock<u8>;"), one(1, "std::sync::OnceLock"));
    assert_eq!(told("use std::net::{SocketAddr, TcpStream};"), one(1, "std::net::TcpStream"));
    assert_eq!(told("fn f(a: std::net::SocketAddr) { std::io::stdout(); a.write(b) }"), []);
}

/// A folder of sources, removed at the end.
struct Sources(PathBuf);

impl Sources {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let folder = std::env::temp_dir().join(format!("lab-{name}-{}", std::process::id()));
        let sources = Self(folder.join("src"));
        for (path, text) in files {
            let path = sources.0.join(path);
            fs::create_dir_all(path.parent().expect("it is in src")).expect("a folder");
            fs::write(path, text).expect("a file");
        }
        sources
    }
}

impl Drop for Sources {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.0.parent().expect("it is in a folder of its own"));
    }
}

#[test]
fn a_refusal_names_file_line_and_remedy_of_each() {
    let sources = Sources::new(
        "names-each",
        &[
            ("lib.rs", "mod raft;\nuse labrt::thread;\n"),
            ("raft/log.rs", "// a log\nuse std::sync::Mutex;\n"),
            ("raft/notes.txt", "use std::sync::Mutex;\n"),
            ("raft.rs", "mod log;\nfn f() {\n    std::thread::park();\n}\n"),
        ],
    );
    let expected = "\
a simulated world cannot see what this crate takes from elsewhere than labrt, so no test is run:
  src/raft/log.rs:2: std::sync::Mutex: use labrt::sync::Mutex
  src/raft.rs:3: std::thread::park: wait on a labrt::sync::Condvar or a channel
(Where that is on purpose, put #[allow(clippy::disallowed_types)] on the item, or \
disallowed_methods.)";
    assert_eq!(check(&sources.0), Err(expected.to_string()));
}

#[test]
fn a_crate_with_a_list_of_its_own_has_that_too() {
    let uses = "use std::fs::File;\nuse std::sync::Mutex;\n";
    let plain = Sources::new("no-list", &[("lib.rs", uses)]);
    let listed = Sources::new("with-list", &[("lib.rs", uses), ("../clippy.toml", KIT_TOML)]);
    let [plain, listed] = [plain, listed].map(|it| check(&it.0).expect_err("there is a lock"));
    assert!(plain.contains("std::sync::Mutex") && !plain.contains("std::fs"), "{plain}");
    let file = "src/lib.rs:1: std::fs::File: what outlives a crash goes through the contract::Disk";
    assert!(listed.contains("std::sync::Mutex") && listed.contains(file), "{listed}");
}

#[test]
fn a_hundred_lines_are_told_as_ten() {
    let line = "fn f() { std::thread::sleep(d) }\n";
    let sources = Sources::new("tells-ten", &[("lib.rs", &line.repeat(100))]);
    let text = check(&sources.0).expect_err("all are wrong");
    assert_eq!(text.matches("src/lib.rs:").count(), 10, "{text}");
    assert!(text.contains("\n  and 90 more\n"), "{text}");
}

#[test]
fn sources_that_are_not_there_are_not_looked_at() {
    assert_eq!(check(Path::new("/nowhere/src")), Ok(()));
}

/// Clippy accuses none of them.
#[test]
fn what_clippy_lets_pass_in_this_repository_passes_here() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for name in
        ["contract", "fixtures/plain", "harness", "kvraft", "lab", "labrpc", "raft", "tests"]
    {
        let sources = root.join(name).join("src");
        assert!(rust_files(&sources).len() > 2, "{name} has sources");
        assert_eq!(check(&sources), Ok(()), "{name}");
    }
}
