//! `lab doctor` on the machine that the tests run on.

use std::process::{Command, Output};

use labrt::time::{Duration, Instant};

fn doctor(prepare: impl FnOnce(&mut Command)) -> (Output, Vec<String>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
    command.arg("doctor");
    for variable in ["LAB_SEED", "LAB_SEEDS", "LAB_WORLD", "LAB_STRATEGY", "LAB_CHECK", "RUST_LOG"]
    {
        command.env_remove(variable);
    }
    prepare(&mut command);
    let output = command.output().expect("the doctor starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = text.lines().filter(|line| !line.starts_with(' '));
    let lines = lines.map(String::from).collect();
    (output, lines)
}

#[test]
fn each_thing_has_one_verdict_and_it_takes_no_more_than_seconds() {
    let began = Instant::now();
    let (output, lines) = doctor(|_| ());
    // Its own limit is below 5 s; the rest is for a machine that is busy with other tests.
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    let things = lines.iter().map(|line| {
        let mut words = line.split_whitespace();
        assert!(["ok", "warn", "bad"].contains(&words.next().unwrap_or_default()), "{line}");
        words.next().unwrap_or_default()
    });
    let expected = [
        "cores",
        "memory",
        "disk",
        "sync",
        "clock",
        "sleep",
        "limits",
        "rustc",
        "cargo",
        "clippy",
        "rustfmt",
        "nextest",
        "crate",
        "variables",
        "class",
    ];
    assert_eq!(things.collect::<Vec<_>>(), expected);
    let bad = lines.iter().any(|line| line.starts_with("bad"));
    assert_eq!(output.status.code(), Some(i32::from(bad)), "{lines:?}");
}

#[test]
fn a_wrong_variable_is_bad_and_so_is_the_exit_status() {
    let (output, lines) = doctor(|command| {
        command.env("LAB_WORLD", "mars");
    });
    assert_eq!(output.status.code(), Some(1));
    let expected = "bad   variables  LAB_WORLD=mars is not understood: it must be sim, threads or \
                    processes. Until then";
    assert!(lines.iter().any(|line| line.starts_with(expected)), "{lines:?}");
}

#[test]
fn where_there_is_no_crate_the_crate_is_bad_and_the_rest_is_told_all_the_same() {
    let folder = tempfile::TempDir::new().expect("a folder can be made");
    let (output, lines) = doctor(|command| {
        command.current_dir(folder.path());
    });
    assert_eq!(output.status.code(), Some(1));
    let line = lines.iter().find(|line| line.starts_with("bad   crate"));
    assert!(line.is_some_and(|line| line.contains("could not find `Cargo.toml`")), "{lines:?}");
    assert_eq!(lines.len(), 15, "{lines:?}");
}

#[test]
fn programs_that_hang_do_not_hold_it_up() {
    let folder = tempfile::TempDir::new().expect("a folder can be made");
    let hangs = folder.path().join("hangs");
    std::fs::write(&hangs, "#!/bin/sh\nsleep 60\n").expect("a script can be written");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&hangs, executable).expect("a script can be made to run");
    let began = Instant::now();
    let (output, lines) = doctor(|command| {
        command.env("CARGO", &hangs).env("RUSTC", &hangs);
    });
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(output.status.code(), Some(1));
    let late = lines.iter().filter(|line| line.contains("did not answer in time")).count();
    assert!(late >= 4, "{lines:?}");
}
