//! What `lab new` makes: crates that build, fail every test with what is to be written, and run the
//! suites on a Raft that is put into them.
//!
//! Cargo builds each crate for that, offline and in the folder where this test was built, so that
//! other people's crates are there already; it takes a minute or two the first time, then seconds.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Made by `lab new`; removed at the end.
struct Kit(PathBuf);

impl Kit {
    /// A fresh kit. Tests run side by side, so each names its own.
    fn new(name: &str, arguments: &[&str]) -> Self {
        let kit = Self(place(name));
        let (text, status) =
            lab(&[&["new", kit.0.to_str().expect("our path")], arguments].concat());
        assert_eq!(status, Some(0), "{text}");
        kit
    }

    /// Has cargo do something with it; what it says, and its exit status.
    fn cargo(&self, arguments: &[&str]) -> (String, Option<i32>) {
        let mut command = Command::new(env!("CARGO"));
        command.args(arguments).current_dir(&self.0).env("CARGO_TARGET_DIR", target_folder());
        command.envs([("CI", "true"), ("LAB_SEEDS", "1"), ("CARGO_NET_OFFLINE", "true")]);
        for name in ["LAB_WORLD", "LAB_SEED", "LAB_STRATEGY", "LAB_CHECK", "RUSTFLAGS"] {
            command.env_remove(name);
        }
        text_of(&command.output().expect("cargo, which runs this test, can be started"))
    }

    fn write(&self, path: &str, text: &str) {
        fs::write(self.0.join(path), text).expect("a file of the kit can be written");
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.0.join(path)).expect("a file of the kit")
    }
}

impl Drop for Kit {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Where a kit of this name is to be; nothing is there.
fn place(name: &str) -> PathBuf {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&place);
    let _ = fs::remove_file(&place);
    place
}

fn target_folder() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it lies in the target folder")
}

fn lab(arguments: &[&str]) -> (String, Option<i32>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
    text_of(&command.args(arguments).output().expect("lab is built by cargo test -p lab"))
}

fn text_of(output: &Output) -> (String, Option<i32>) {
    let text = [&*output.stdout, &*output.stderr].concat();
    (String::from_utf8_lossy(&text).into_owned(), output.status.code())
}

/// The lines that begin so.
fn lines<'a>(text: &'a str, beginning: &str) -> Vec<&'a str> {
    text.lines().filter(|line| line.starts_with(beginning)).collect()
}

/// Builds a fresh kit without a warning, and has every test fail, at once, with what is to be
/// written for `part`.
fn fails_politely(kit: &Kit, part: &str, tests: usize) {
    let (text, status) = kit.cargo(&["fmt", "--check"]);
    assert_eq!(status, Some(0), "{text}");
    let (text, status) = kit.cargo(&["clippy", "--quiet", "--all-targets", "--", "-D", "warnings"]);
    assert_eq!((text.as_str(), status), ("", Some(0)));
    let (text, status) = kit.cargo(&["test", "--test", "labs"]);
    assert_eq!(status, Some(1), "{text}");
    assert_eq!(lines(&text, "warning"), [""; 0]);
    assert_eq!(lines(&text, "test ").iter().filter(|line| line.ends_with("FAILED")).count(), tests);
    let footers = lines(&text, "FAIL ");
    assert_eq!(footers.len(), tests, "{text}");
    for footer in footers {
        // The mark's place is where the run failed, once a disk was there.
        let told = footer.contains(" · 0.00")
            && footer.contains(&format!(" s · {part} is not written yet: "))
            && footer.contains(&format!("`your code here ({part})`"))
            && footer.contains("Raft §");
        assert!(told, "{footer}");
        assert!(is_marked(kit, footer, part), "no mark is there: {footer}");
    }
    assert_eq!(lines(&text, "replay").iter().filter(|l| l.contains("same failure")).count(), tests);
}

/// Whether the place at a footer's end, as in `... (src/raft.rs:12)`, is just below a mark.
fn is_marked(kit: &Kit, footer: &str, part: &str) -> bool {
    let place = footer.rsplit_once('(').map_or("", |(_, place)| place.trim_end_matches(')'));
    let Some((file, line)) = place.split_once(':') else { return false };
    let line: usize = line.parse().expect("the number of a line");
    let source = kit.read(file);
    let above = source.lines().take(line).collect::<Vec<_>>();
    above.iter().rev().take(4).any(|line| line.contains(&format!("// your code here ({part})")))
}

/// How many tests a target has, of parts that begin with one of `labs`.
fn tests_of(kit: &Kit, labs: &[char]) -> usize {
    let (text, status) = kit.cargo(&["test", "--quiet", "--test", "labs", "--", "--list"]);
    assert_eq!(status, Some(0), "{text}");
    let part = |line: &str| line.strip_suffix(": test")?.rsplit_once('_')?.1.chars().next();
    let parts: Vec<char> = text.lines().filter_map(part).collect();
    assert!(parts.iter().all(|lab| labs.contains(lab)), "{text}");
    assert!(labs.iter().all(|lab| parts.contains(lab)), "{text}");
    parts.len()
}

#[test]
fn a_fresh_raft_fails_every_test_with_what_to_write_for_2a() {
    let kit = Kit::new("fresh-raft", &[]);
    let tests = tests_of(&kit, &['2']);
    fails_politely(&kit, "2A", tests);
    let (text, status) = kit.cargo(&["test", "--test", "my_tests"]);
    assert_eq!(status, Some(101), "{text}");
    assert_eq!(lines(&text, "FAIL ").len(), 1, "{text}");
    assert!(lines(&text, "FAIL ")[0].contains("2A is not written yet"), "{text}");
}

#[test]
fn a_fresh_service_fails_every_test_with_what_to_write_for_3a() {
    let kit = Kit::new("fresh-kv", &["--kv"]);
    let tests = tests_of(&kit, &['3']);
    fails_politely(&kit, "3A", tests);
    let (text, status) = kit.cargo(&["test", "--test", "my_kv_tests"]);
    assert_eq!(status, Some(101), "{text}");
    assert!(lines(&text, "FAIL ")[0].contains("3A is not written yet"), "{text}");
}

/// Nothing of a service can be tried before there is a Raft beneath it.
#[test]
fn a_fresh_raft_with_a_service_fails_every_test_with_what_to_write_for_2a() {
    let kit = Kit::new("fresh-both", &["--both"]);
    let tests = tests_of(&kit, &['2', '3']);
    fails_politely(&kit, "2A", tests);
}

/// Has our own Raft and service stand where a student's would.
fn put_ours_into(kit: &Kit) {
    let ours = "pub use kvraft::KvServer as MyKv;\npub use raft::Raft as MyRaft;\n";
    kit.write("src/lib.rs", ours);
    let manifest = kit.read("Cargo.toml");
    let labrt = lines(&manifest, "labrt = ")[0];
    let labs = labrt.split('"').nth(1).expect("it is a path").trim_end_matches("/labrt");
    let more = format!("[dependencies]\nkvraft = {{ path = \"{labs}/kvraft\" }}\n");
    let more = format!("{more}raft = {{ path = \"{labs}/raft\" }}\n");
    kit.write("Cargo.toml", &manifest.replace("[dependencies]\n", &more));
}

#[test]
fn a_raft_and_a_service_that_are_put_into_a_kit_pass_there() {
    let kit = Kit::new("ours-in-kit", &["--both"]);
    put_ours_into(&kit);
    let tests = tests_of(&kit, &['2', '3']);
    let (text, status) = kit.cargo(&["test", "--test", "labs"]);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains(&format!("{tests} passed; 0 failed")), "{text}");
    let (text, status) = kit.cargo(&["test", "--test", "my_tests", "--test", "my_kv_tests"]);
    assert_eq!(status, Some(0), "{text}");
}

#[test]
fn what_is_taken_from_std_is_refused_by_line_before_a_run_and_not_to_who_only_lists() {
    let kit = Kit::new("std-in-kit", &[]);
    let election = kit.read("src/raft/election.rs");
    let wrong = "\npub(super) fn wait(lock: &std::sync::Mutex<u8>) {\n    \
                 std::thread::sleep(std::time::Duration::from_secs(1));\n}\n";
    kit.write("src/raft/election.rs", &format!("{election}{wrong}"));
    let line = election.lines().count() + 2;
    let (text, status) = kit.cargo(&["test", "--test", "labs", "2A"]);
    assert_eq!(status, Some(2), "{text}");
    for told in [
        format!("  src/raft/election.rs:{line}: std::sync::Mutex: use labrt::sync::Mutex\n"),
        format!("  src/raft/election.rs:{}: std::thread::sleep: use labrt::thread::", line + 1),
    ] {
        assert!(text.contains(&told), "{told:?} is missing in\n{text}");
    }
    assert!(!text.contains("running "), "{text}");
    let (text, status) = kit.cargo(&["test", "--test", "labs", "--", "--list"]);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("initial_election_2A: test"), "{text}");
}

#[test]
fn a_grader_finds_in_the_manifest_what_to_take() {
    let kit = Kit::new("for-a-grader", &["--both"]);
    let (text, status) = kit.cargo(&["metadata", "--no-deps", "--format-version", "1"]);
    assert_eq!(status, Some(0), "{text}");
    let metadata: serde_json::Value =
        text.lines().find_map(|line| serde_json::from_str(line).ok()).expect("one line of JSON");
    let package = &metadata["packages"][0];
    assert_eq!(package["metadata"]["lab"]["sources"], serde_json::json!(["src"]));
    assert_eq!(package["name"], "for-a-grader");
}

#[test]
fn what_cannot_be_made_is_refused_with_what_to_do() {
    let occupied = Kit(place("occupied"));
    fs::create_dir_all(&occupied.0).expect("a folder");
    occupied.write("thesis.txt", "three years of work");
    let shown = occupied.0.to_str().expect("our path");
    let below = format!("{shown}/thesis.txt/my-raft");
    let free = place("not-made");
    let free = free.to_str().expect("our path");
    for (arguments, sentence) in [
        (vec![shown], "is not empty, and nothing is written over: choose another folder"),
        (vec![&*below], "cannot be"),
        (vec!["/tmp/raft"], "\"raft\" cannot be a crate's name: another crate that it works with"),
        (vec!["/tmp/6.824"], "it must begin with a small letter. Say another with --name my-raft"),
        (vec!["/"], "the folder / has no name that a crate could have: say one with --name"),
        (vec!["/dev/null/my-raft"], "a file is in its way: choose another"),
        (vec![free, "--deps", "/nowhere"], "--deps /nowhere: there is no such folder"),
        (vec!["/proc/my-raft"], "cannot be made; choose a place that you can write to"),
    ] {
        let (text, status) = lab(&[vec!["new"], arguments].concat());
        assert!(text.contains(sentence), "{sentence:?} is missing in {text:?}");
        assert_eq!(status, Some(2), "{text}");
    }
    assert!(!Path::new(free).exists(), "what is refused is not begun");
    let files = fs::read_dir(&occupied.0).expect("a folder").count();
    assert_eq!((files, occupied.read("thesis.txt")), (1, "three years of work".to_string()));
}

#[test]
fn at_its_end_it_says_what_was_made_and_the_commands_to_go_on_with() {
    let kit = Kit(place("told-kit"));
    let shown = kit.0.to_str().expect("our path");
    let (text, status) = lab(&["new", shown, "--name", "alices-raft"]);
    assert_eq!(status, Some(0), "{text}");
    let first = "made the crate alices-raft, in which you write Raft (2A to 2D)\n";
    assert!(text.starts_with(first), "{text}");
    let last = format!("\nBegin with\n  cd {shown}\n  cargo test 2A\n  cargo lab grade 2A\n");
    assert!(text.ends_with(&last), "{text}");
    // Cargo knows the command, and of what manifest; to have that built takes minutes. (This crate
    // lies inside the checkout, which has such a command as well.)
    let (commands, status) = kit.cargo(&["--list"]);
    assert_eq!(status, Some(0), "{commands}");
    let command = commands.lines().find(|line| line.trim_start().starts_with("lab "));
    let command = command.unwrap_or_else(|| panic!("no `cargo lab` in {commands}"));
    assert_eq!(command.matches("alias: run").count(), 1, "{command}");
    let manifest = command.split(' ').find(|word| word.ends_with("/Cargo.toml"));
    let manifest = manifest.unwrap_or_else(|| panic!("no manifest is named in {command}"));
    assert!(kit.0.join(manifest).with_file_name("lab").is_dir(), "{command}");
    assert!(kit.read("tests/labs.rs").contains("tests::main!(alices_raft::MyRaft);"));
}
