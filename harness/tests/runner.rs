//! The runner's promises, shown on a table of tests that misbehave (`examples/misbehaving.rs`).

use std::env;
use std::process::{Command, Output};

/// Runs the example with `arguments` and variables, and gives its output and exit status.
fn run(arguments: &[&str], variables: &[(&str, &str)]) -> (String, Option<i32>) {
    // target/PROFILE/deps/THIS -> target/PROFILE/examples/misbehaving
    let this = env::current_exe().expect("a running program has a path");
    let profile = this.ancestors().nth(2).expect("it lies in target/PROFILE/deps");
    let mut command = Command::new(profile.join("examples/misbehaving"));
    for name in ["LAB_WORLD", "LAB_SEED", "LAB_SEEDS", "LAB_STRATEGY", "LAB_CHECK", "RUST_LOG"] {
        command.env_remove(name);
    }
    command.args(arguments).env("CI", "true").envs(variables.iter().copied());
    let Output { status, stdout, stderr } =
        command.output().expect("the example is built by cargo test -p harness");
    let text = [stdout, stderr].concat();
    (String::from_utf8_lossy(&text).into_owned(), status.code())
}

#[test]
fn a_test_that_misbehaves_costs_itself_alone() {
    let (text, status) = run(&[], &[]);
    assert_eq!(status, Some(1), "{text}");
    for passed in ["passes_0X", "only_in_sim_0X", "unrecorded_0X", "counts_0X", "leaks_0X"] {
        let line = text.lines().find(|line| line.starts_with(&format!("test {passed}")));
        assert!(line.is_some_and(|line| line.contains("... ok")), "{passed}: {line:?}");
    }
    assert!(text.contains("test result: FAILED. 5 passed; 10 failed; 0 ignored"), "{text}");
    for said in [
        "FAIL panics_0X · sim random-walk · seed 0 · 0.001 s · this is what went wrong",
        "FAIL aborts_0X · sim random-walk · seed 0 · 0.000 s · the test's process aborted",
        "replay   LAB_SEED=0 cargo test -p harness aborts_0X -- --exact  (replayed: same failure)",
        "FAIL exits_0X · sim random-walk · seed 0 · 0.000 s · the test's process left no result",
        "the test's process crashed (a stack overflow?)",
        "after the flood",
        "deadlock: test/main locks #",
        "FAIL runs_for_ever_0X · sim random-walk · seed 0 · 120",
        "livelock: the limit of virtual time is reached",
        "FAIL spins_0X · sim random-walk · seed 0 · 0.001 s · busy loop: 10 s of CPU time without",
        "replay   LAB_SEED=0 cargo test -p harness spins_0X -- --exact  (replayed: same failure)",
        "FAIL waits_outside_0X · sim random-walk · seed 0 · 0.001 s · a std lock, real sleep or IO",
        "replay   LAB_SEED=0 cargo test -p harness waits_outside_0X -- --exact  (replayed: same",
        "8 seeds, 8 threads leaked, the first: test/thread-",
    ] {
        assert!(text.contains(said), "{said:?} is missing in\n{text}");
    }
    assert!(text.len() < 400_000, "a flood of output was cut to {} bytes", text.len());
}

#[test]
fn a_failure_names_its_seed_and_the_last_line_has_the_command_that_repeats_it() {
    let (text, _) = run(&["fails_later"], &[]);
    let mut last = text.trim_end().lines().rev();
    let trace = last.next().unwrap_or_default();
    let replay = last.next().unwrap_or_default();
    let fail = last.next().unwrap_or_default();
    assert!(trace.starts_with("trace    ") && trace.ends_with("log.txt, events.jsonl"), "{text}");
    assert!(
        replay.contains("LAB_SEED=5 cargo test -p harness fails_later_0X -- --exact"),
        "{text}"
    );
    assert!(replay.ends_with("(replayed: same failure)"), "{text}");
    assert!(fail.starts_with("FAIL fails_later_0X · sim random-walk · seed 5 · 1.5"), "{text}");
}

#[test]
fn seeds_that_pass_pass_and_one_seed_is_exactly_that_one() {
    let (text, status) = run(&["fails_later"], &[("LAB_SEEDS", "5")]);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("5 seeds"), "{text}");
    let (text, status) = run(&["fails_later"], &[("LAB_SEED", "77")]);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("seed 77"), "{text}");
}

#[test]
fn what_decides_otherwise_in_a_new_process_is_told_by_the_self_check() {
    let check = [("LAB_CHECK", "determinism"), ("LAB_SEEDS", "2")];
    let (text, status) = run(&["counts_0X"], &check);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("two runs of the same seed part after "), "{text}");
    assert!(text.contains("· not deterministic: two runs of one seed differ"), "{text}");
    let (text, status) = run(&["passes_0X"], &check);
    assert_eq!(status, Some(0), "{text}");
}

#[test]
fn a_run_is_recorded_only_for_a_log_that_was_asked_for() {
    let (text, status) = run(&["unrecorded"], &[]);
    assert_eq!(status, Some(0), "{text}");
    let (text, status) = run(&["unrecorded"], &[("RUST_LOG", "election=debug")]);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("this run is recorded"), "{text}");
}

#[test]
fn a_filter_that_matches_nothing_is_an_error_that_lists_the_tests() {
    for filter in ["no_such_test_9Z", "0x"] {
        let (text, status) = run(&[filter], &[]);
        assert_eq!(status, Some(2), "{text}");
        assert!(text.contains("\n  only_in_sim_0X\n"), "{text}");
        let sentence = format!("error: none of these tests matches {filter:?}; a name ends with");
        assert!(text.lines().last().is_some_and(|last| last.starts_with(&sentence)), "{text}");
    }
    // A name without a part may be a unit test's of the same crate.
    let (text, status) = run(&["some_unit_test"], &[]);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("0 passed; 0 failed; 0 ignored; 0 measured; 15 filtered out"), "{text}");
    let note =
        "note: no graded test matches \"some_unit_test\"; cargo test -- --list has their names";
    assert!(text.contains(note), "{text}");
    let (text, _) = run(&["only_in_sim", "--skip", "only_in_sim"], &[]);
    assert!(!text.contains("note: "), "{text}");
}

#[test]
fn a_filter_for_what_this_target_does_not_test_says_what_is_missing() {
    let (text, status) = run(&["0K"], &[]);
    assert_eq!(status, Some(2), "{text}");
    let sentence = "\"0K\" is about a key-value service, and this target has none";
    assert!(text.contains(sentence), "{text}");
}

#[test]
fn a_bad_setting_is_refused_with_a_sentence() {
    for (name, value) in [("LAB_WORLD", "moon"), ("LAB_SEED", "x"), ("LAB_SEEDS", "0")] {
        let (text, status) = run(&[], &[(name, value)]);
        assert_eq!(status, Some(2), "{text}");
        assert!(text.contains(&format!("error: {name}={value} is not understood")), "{text}");
    }
}

#[test]
fn exact_skip_and_list_are_those_of_libtest() {
    let (text, status) = run(&["passes_0X", "--exact"], &[]);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("1 passed; 0 failed; 0 ignored; 0 measured; 14 filtered out"), "{text}");
    let (text, _) = run(&["s_0X", "--skip", "passes"], &[]);
    assert!(text.contains("test aborts_0X") && !text.contains("test passes_0X"), "{text}");
    let (text, status) = run(&["passes_0X", "--test-threads", "0"], &[]);
    assert!(status == Some(0) && text.contains("1 passed"), "{text}");
    let (text, status) = run(&["--list", "--format", "terse"], &[]);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("passes_0X: test\n"), "{text}");
}

#[test]
fn a_test_that_makes_no_sense_in_a_world_is_skipped_with_the_reason() {
    let (text, status) = run(&["only_in_sim"], &[("LAB_WORLD", "threads")]);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("ignored, it is about virtual time"), "{text}");
    assert!(text.contains("0 passed; 0 failed; 1 ignored"), "{text}");
}

#[test]
fn a_failure_in_real_time_names_the_command_that_stresses_it() {
    let (text, status) = run(&["panics"], &[("LAB_WORLD", "threads"), ("LAB_SEED", "3")]);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("FAIL panics_0X · threads · seed 3"), "{text}");
    let command = "stress   LAB_WORLD=threads LAB_SEED=3 cargo test -p harness panics_0X";
    assert!(text.contains(command), "{text}");
}
