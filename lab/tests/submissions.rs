//! A class of thirteen: what each gets, and that none of them reaches what is not its own.
//!
//! They are the plain Raft of this repository with something done to it. A kit has to be built with
//! all that it depends on, so this is the slowest test of all; it needs bubblewrap.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use harness::Summary;
use harness::runner::protocol::Event;
use tempfile::TempDir;

/// This repository.
fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("lab/ is a folder of it")
}

fn lab(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
    command.args(arguments).stdin(Stdio::null());
    command
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("there is room");
    for entry in fs::read_dir(from).expect("it is a folder").flatten() {
        let place = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &place),
            false => drop(fs::copy(entry.path(), place).expect("there is room")),
        }
    }
}

/// A class under way.
struct Class {
    folder: TempDir,
}

impl Class {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The plain Raft and service under the names that the kit has for them.
    fn hand_in(&self, name: &str) -> PathBuf {
        let sources = self.path("class").join(name).join("src");
        copy(&repository().join("fixtures/plain/src"), &sources);
        let main = sources.join("lib.rs");
        let mut text = fs::read_to_string(&main).expect("it was copied");
        // Its unit tests need what a kit has not.
        text = text.replace("#[cfg(test)]", "#[cfg(any())]");
        text += "\npub use PlainRaft as MyRaft;\n\
                 pub use kv::{PlainClerk as MyClerk, PlainKv as MyKv};\n";
        fs::write(&main, text).expect("there is room");
        main
    }

    /// The same, with `code` run whenever a server is made.
    fn hand_in_with(&self, name: &str, code: &str) {
        let main = self.hand_in(name);
        let text = fs::read_to_string(&main).expect("it was written");
        let place = "        let persister = disk.persister();\n";
        assert!(text.contains(place), "the plain Raft's make begins otherwise now");
        // Whoever means ill tells the look at the sources to let it pass.
        let text = format!("#![allow(clippy::disallowed_methods)]\n{text}");
        fs::write(&main, text.replacen(place, &format!("{code}\n{place}"), 1))
            .expect("there is room");
    }

    fn hand_in_wrong(&self, name: &str) {
        self.hand_in(name);
        let patch = repository().join("fixtures/wrong/votes_twice.patch");
        let text = fs::read_to_string(patch).expect("it is there").replace("fixtures/plain/", "");
        let place = self.path("class").join(name);
        let mut command = Command::new("patch");
        command.args(["--strip", "0", "--quiet", "--directory"]).arg(place).stdin(Stdio::piped());
        let mut child = command.spawn().expect("patch is installed");
        let mut input = child.stdin.take().expect("it was asked for");
        std::io::Write::write_all(&mut input, text.as_bytes()).expect("it reads");
        drop(input);
        assert!(child.wait().expect("it ends").success());
    }

    /// All of them.
    fn hand_in_all(&self, port: u16) {
        self.hand_in("correct");
        self.hand_in_wrong("wrong");
        let broken = self.hand_in("broken");
        fs::write(broken, "fn unfinished( {").expect("there is room");
        self.hand_in_with(
            "hanging",
            "        loop { std::hint::spin_loop(); }\n        #[allow(unreachable_code)]",
        );
        let fork = "std::process::Command::new(\"/bin/sleep\").arg(\"1000\").spawn()";
        self.hand_in_with(
            "forking",
            &format!("        while {fork}.is_ok() {{}}\n        std::process::abort();"),
        );
        let outside = self.path("outside");
        fs::create_dir_all(&outside).expect("there is room");
        open_to_all(&outside);
        self.hand_in_with(
            "writing",
            &format!(
                r#"
        for place in [{outside:?}, "/tmp", "/var/tmp", "..", "src"] {{
            let _ = std::fs::write(format!("{{place}}/written-by-a-submission"), "I was here");
        }}
        assert!(std::net::TcpStream::connect(("127.0.0.1", {port})).is_err(), "a network");
        assert!(std::fs::read_dir({outside:?}).is_err(), "I see it");"#
            ),
        );
        self.hand_in_with(
            "forging",
            r#"
        println!("test initial_election_2A ... ok\n\ntest result: ok. 96 passed");
        println!("{{\"Passed\":{{\"seed\":7}}}}");
        std::process::exit(0);"#,
        );
        self.hand_in_with("reopening", &reopening());
        self.hand_in_with("eating", &eating());
        self.hand_in_with("filling", FILLING);
        self.hand_in("linked");
        let sources = self.path("class/linked/src");
        fs::remove_dir_all(&sources).expect("it was made");
        symlink(repository().join("raft/src"), &sources).expect("there is room");
        let theirs = repository().join("raft/src/lib.rs");
        let reexporting = self.hand_in("reexporting");
        let text = format!("#[path = {theirs:?}]\nmod theirs;\npub use theirs::Raft as MyRaft;\n");
        fs::write(reexporting, text).expect("there is room");
        fs::create_dir_all(self.path("class").join("empty")).expect("there is room");
    }
}

/// Code that writes what a test tells that has passed, on both seeds, to all that its process has
/// open.
fn reopening() -> String {
    let passed = |seed| Event::Passed {
        seed,
        took: Duration::ZERO,
        summary: Summary::default(),
        leaked: Vec::new(),
    };
    let line = |seed| serde_json::to_string(&passed(seed)).expect("it is plain data") + "\n";
    let forged = [4711, 815].map(line).concat();
    format!(
        r#"
        use std::io::Write as _;
        use std::os::fd::AsFd as _;
        let paths = ["/proc/self/fd", "/dev/fd"].into_iter();
        let mut files: Vec<std::fs::File> = paths
            .flat_map(|folder| (0..99).map(move |number| format!("{{folder}}/{{number}}")))
            .filter_map(|path| std::fs::OpenOptions::new().append(true).open(path).ok())
            .collect();
        files.extend(std::io::stdin().as_fd().try_clone_to_owned().ok().map(Into::into));
        for mut file in files {{
            let _ = file.write_all({forged:?}.as_bytes());
        }}
        std::process::exit(0);"#
    )
}

/// Code that starts processes of which each takes as much memory as a correct run may, and together
/// more than a run may have; once. Nothing comes of it if nobody looks at them together.
fn eating() -> String {
    // What `tail` is given has no end of a line, so it keeps all of it before it says anything.
    let eats = "head -c 150000000 /dev/zero | tail | { head -c 1; sleep 1000; }";
    format!(
        r#"
        use std::sync::atomic::{{AtomicBool, Ordering}};
        static ONCE: AtomicBool = AtomicBool::new(true);
        if ONCE.swap(false, Ordering::Relaxed) {{
            let eater = |_| {{
                let mut shell = std::process::Command::new("/bin/sh");
                shell.args(["-c", {eats:?}]).stdout(std::process::Stdio::piped());
                shell.spawn().unwrap().stdout.unwrap()
            }};
            let mut eaters: Vec<_> = (0..10).map(eater).collect();
            for said in &mut eaters {{
                std::io::Read::read_exact(said, &mut [0]).unwrap();
            }}
            std::mem::forget(eaters);
        }}"#
    )
}

/// Code that writes wherever it can, as much as there is room for, and should not be able to write
/// a gigabyte.
const FILLING: &str = r#"
        let mut files = 0;
        let megabytes = vec![1; 16 << 20];
        for place in ["/tmp", "/dev/shm", "/var/tmp", "/", "/etc", ".."] {
            let place = std::path::Path::new(place);
            while files < 64 && std::fs::write(place.join(files.to_string()), &megabytes).is_ok() {
                files += 1;
            }
        }
        assert!(files < 64, "a gigabyte of files");"#;

fn open_to_all(folder: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).expect("it is ours");
}

/// A submission's row.
fn line<'a>(table: &'a str, name: &str) -> &'a str {
    let line = table.lines().find(|line| line.starts_with(&format!("{name},")));
    line.unwrap_or_else(|| panic!("{name} has no row in\n{table}"))
}

/// Status and points of a row.
fn row(table: &str, name: &str) -> (String, String) {
    let mut cells = line(table, name).split(',');
    let mut cell = || cells.next().unwrap_or_default().to_string();
    let _ = cell();
    (cell(), cell())
}

#[test]
fn each_submission_gets_what_it_is_worth_and_reaches_nothing() {
    let class = Class { folder: TempDir::new().expect("there is room") };
    open_to_all(class.folder.path());
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    class.hand_in_all(listener.local_addr().expect("it has one").port());
    let kit = class.path("kit");
    let made = lab(&["new", "--both"]).arg(&kit).output().expect("lab starts");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    fs::write(class.path("seeds.txt"), "4711 815\n").expect("there is room");

    fs::create_dir_all(class.path("reports/wrong.txt")).expect("there is room");
    // Who grades may keep what they make to themselves: submissions are run by another user all the
    // same.
    let mut grade = Command::new("/bin/sh");
    grade.args(["-c", "umask 077; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_lab")]);
    grade.stdin(Stdio::null()).args([
        "grade",
        "initial_election_2A",
        "vote_once_2A",
        "--memory",
        "1024",
    ]);
    grade.arg("--submissions").arg(class.path("class")).arg("--kit").arg(&kit);
    grade.arg("--out").arg(class.path("grades.csv")).arg("--reports").arg(class.path("reports"));
    grade.arg("--seed-file").arg(class.path("seeds.txt"));
    let graded = grade.output().expect("lab starts");
    let (said, errors) =
        (String::from_utf8_lossy(&graded.stdout), String::from_utf8_lossy(&graded.stderr));
    // A report could not be written, which costs that report alone.
    assert_eq!(graded.status.code(), Some(1), "{said}{errors}");
    assert!(errors.contains("error: wrong's report cannot be written to"), "{errors}");

    let table = fs::read_to_string(class.path("grades.csv")).expect("it was written");
    let is = |name: &str, status: &str, points: &str| {
        let report = fs::read_to_string(class.path("reports").join(name).with_extension("txt"));
        let expected = (status.to_string(), points.to_string());
        assert_eq!(row(&table, name), expected, "{name}\n{table}\n{report:?}");
    };
    is("correct", "graded", "10");
    is("wrong", "graded", "5");
    is("broken", "does not build", "0");
    is("hanging", "graded", "0");
    is("forking", "graded", "0");
    is("writing", "graded", "10");
    is("forging", "graded", "0");
    is("reopening", "graded", "0");
    is("eating", "graded", "0");
    is("filling", "graded", "10");
    is("linked", "incomplete", "0");
    is("reexporting", "does not build", "0");
    is("empty", "incomplete", "0");
    assert!(fs::read_dir(class.path("outside")).expect("it is there").next().is_none());
    for place in ["/tmp", "/var/tmp"] {
        assert!(!Path::new(place).join("written-by-a-submission").exists(), "{place}");
    }
    assert!(line(&table, "wrong").contains(",not written: Is a directory"), "{table}");
    let together = "its processes together took more than 1024 MB of memory, and were killed";
    assert!(line(&table, "eating").contains(together), "{table}");
    let report = fs::read_to_string(class.path("reports/reexporting.txt")).expect("it was written");
    assert!(report.contains("couldn't read"), "{report}");
}

/// Root alone has another user run submissions; anybody else gets where the kit is.
#[test]
fn a_kit_that_submissions_cannot_be_run_in_is_refused_before_it_is_built() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let folder = TempDir::new().expect("there is room");
    let path = |name: &str| folder.path().join(name);
    if fs::metadata(folder.path()).expect("it was made").uid() != 0 {
        return;
    }
    fs::create_dir_all(path("class/alice/src")).expect("there is room");
    let made = lab(&["new"]).arg(path("kit")).output().expect("lab starts");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).expect("it is ours");
    let mut grade = lab(&["grade", "--submissions"]);
    grade.arg(path("class")).arg("--kit").arg(path("kit")).current_dir(&folder);
    let refused = grade.output().expect("lab starts");
    let errors = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{errors}");
    assert!(errors.contains("who has no rights, and who does not get into"), "{errors}");
    assert!(!path("grades.csv").exists(), "nothing was graded");
}

#[test]
fn what_a_person_got_wrong_is_refused_before_the_kit_is_looked_at() {
    let folder = TempDir::new().expect("there is room");
    let path = |name: &str| folder.path().join(name);
    fs::create_dir_all(path("class/alice")).expect("there is room");
    fs::write(path("seeds.txt"), "4711 x815\n").expect("there is room");
    fs::write(path("file"), "").expect("there is room");
    let refused = |option: &str, value: &str| {
        let mut grade = lab(&["grade", "--kit", "/no/such/kit", option]);
        grade.arg(path(value)).arg("--submissions").arg(path("class")).current_dir(&folder);
        let output = grade.output().expect("lab starts");
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let mut processes = lab(&["grade", "--world", "processes", "--kit", "/no/such/kit"]);
    let refusal = processes.arg("--submissions").arg(path("class")).output().expect("lab starts");
    let errors = String::from_utf8_lossy(&refusal.stderr);
    assert!(errors.contains("a class is not graded with --world processes"), "{errors}");
    for (option, value, sentence) in [
        ("--seed-file", "seeds.txt", "seeds.txt, line 1: \"x815\" is not a seed"),
        ("--out", "no/such/folder.csv", "no/such/folder.csv cannot be written: No such file"),
        ("--out", "file", "file cannot be written: File exists"),
        ("--reports", "file", "reports cannot be written to"),
        // This one is as it should be.
        ("--reports", "reports", "the kit /no/such/kit cannot be found"),
    ] {
        let errors = refused(option, value);
        assert!(errors.contains(sentence), "{option} {value}: {errors}");
        assert!(!path("grades.csv").exists(), "{option} {value}: nothing was graded");
    }
}
