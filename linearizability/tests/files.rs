//! Histories in files, and the command line.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use linearizability::{KvInput, Operation, read_history, write_history};

const GOOD: &str = r#"{"client":1,"op":"put","key":"x","value":"a","call":10,"return":20}

{"client":2,"op":"append","key":"x","value":"b","call":15,"return":null}
{"client":2,"op":"append","key":"x","value":"c","call":15}
{"client":3,"op":"get","key":"x","output":"ab","call":30,"return":42}
"#;

#[test]
fn a_file_is_read_and_written() {
    let history = read_history(GOOD.as_bytes()).expect("the example is good");
    let expected = [
        Operation::returned(1, KvInput::put("x", "a"), 10, 20, None),
        Operation::unknown(2, KvInput::append("x", "b"), 15),
        Operation::unknown(2, KvInput::append("x", "c"), 15),
        Operation::returned(3, KvInput::get("x"), 30, 42, Some("ab".to_string())),
    ];
    assert_eq!(history, expected);
    assert_eq!(read_history(write_history(&history).as_bytes()), Ok(history));
}

/// The second line, and what has to be said of it.
const BAD: &[(&str, &str)] = &[
    ("{", "EOF while parsing an object, at column 1; a line should be like {\"client\":1"),
    (r#"{"client":1}"#, "missing field `op`"),
    (r#"{"client":1,"op":"cas","key":"x","call":1}"#, "expected one of `get`, `put`, `append`"),
    (r#"{"client":1,"op":"get","key":"x","cal":1}"#, "unknown field `cal`"),
    (r#"{"client":1,"op":"get","key":"x","call":-1}"#, "expected u64"),
    (r#"{"client":1,"op":"put","key":"x","call":1}"#, "needs a \"value\""),
    (r#"{"client":1,"op":"get","key":"x","value":"a","call":1}"#, "a get has no \"value\""),
    (r#"{"client":1,"op":"get","key":"x","call":1,"return":2}"#, "needs an \"output\""),
    (r#"{"client":1,"op":"get","key":"x","output":"","call":1}"#, "needs a time of \"return\""),
    (
        r#"{"client":1,"op":"put","key":"x","value":"","output":"","call":1,"return":1}"#,
        "only a get has an \"output\"",
    ),
    (
        r#"{"client":1,"op":"put","key":"x","value":"","call":2,"return":1}"#,
        "\"return\" is 1, and should be at least 2",
    ),
    ("\"\u{fffd}", "EOF while parsing a string"),
];

#[test]
fn a_malformed_line_is_named() {
    let first = GOOD.lines().next().expect("there is one");
    for (line, problem) in BAD {
        let error = read_history(format!("{first}\n{line}\n").as_bytes()).expect_err(line);
        let told = error.to_string();
        assert!(told.starts_with("line 2: ") && told.contains(problem), "{line}: {told}");
    }
    let error = read_history(&b"{\"client\":1,\"op\":\"get\",\"key\":\"\xff\"}"[..]);
    assert!(error.is_err_and(|error| error.to_string().starts_with("line 1: ")));
}

fn run(name: &str, content: &str) -> Output {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, content).expect("the directory is for this");
    Command::new(env!("CARGO_BIN_EXE_linearizability"))
        .arg("check")
        .arg(path)
        .output()
        .expect("the program is built with its tests")
}

#[test]
fn the_exit_status_is_the_answer() {
    let good = run("good.jsonl", GOOD);
    assert_eq!((good.status.code(), good.stdout.as_slice()), (Some(0), &b"linearizable\n"[..]));

    let stale = GOOD.replace(r#""output":"ab""#, r#""output":"""#);
    let bad = run("stale.jsonl", &stale);
    assert_eq!(bad.status.code(), Some(1));
    let told = String::from_utf8_lossy(&bad.stdout).to_string();
    assert!(told.starts_with("not linearizable: client 3's get x read \"\" (#3) is"), "{told}");

    let malformed = run("malformed.jsonl", "\n{}\n");
    assert_eq!(malformed.status.code(), Some(2));
    let told = String::from_utf8_lossy(&malformed.stderr).to_string();
    assert!(told.contains("malformed.jsonl: line 2: missing field `client`"), "{told}");

    let late = GOOD.replace("42", &u64::MAX.to_string());
    assert_eq!(run("late.jsonl", &late).status.code(), Some(2), "undecided is no pass");
}
