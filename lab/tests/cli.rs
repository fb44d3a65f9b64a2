//! What the command line promises, shown on tests that misbehave (`examples/hostile.rs`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use labrt::thread::sleep;
use labrt::time::Duration;
use serde_json::Value;
use tempfile::TempDir;

/// `target/PROFILE/examples/hostile`, which cargo builds with this.
fn hostile() -> PathBuf {
    let profile = Path::new(env!("CARGO_BIN_EXE_lab")).parent().expect("it lies in a folder");
    profile.join("examples/hostile")
}

fn lab(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
    // As a person has it who types `lab`, and not as cargo runs it.
    command.env_remove("CARGO_PKG_NAME");
    command.args(arguments).env_remove("LAB_WORLD").stdin(Stdio::null());
    command
}

/// Runs `lab COMMAND --program hostile ARGUMENTS`.
fn on_hostile(command: &str, arguments: &[&str]) -> Command {
    let mut lab = lab(&[command, "--program"]);
    lab.arg(hostile()).args(arguments);
    lab
}

/// Standard output, standard error, and the exit status.
fn said(command: &mut Command) -> (String, String, Option<i32>) {
    let Output { status, stdout, stderr } = command.output().expect("lab starts");
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (text(&stdout), text(&stderr), status.code())
}

/// Whether a process is there; one that has ended and was not waited for is not.
fn lives(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}

/// Has a program of the system try to take over a file that the process which started it has open.
#[cfg(target_os = "linux")]
#[test]
fn what_is_locked_in_does_not_reach_the_files_of_another_process() {
    const PIDFD_OPEN: u32 = 434;
    const PIDFD_GETFD: u32 = 438;
    let attack = format!(
        "open(my $report, '+>', undef) or die; my $number = fileno($report); \
         if (fork() == 0) {{ \
             my $parent = syscall({PIDFD_OPEN}, getppid(), 0); \
             my $taken = syscall({PIDFD_GETFD}, $parent, $number, 0); \
             print($taken < 0 ? \"refused: $!\" : 'taken over'); exit 0 \
         }} wait()"
    );
    let limits = ["limited", "--memory", "2000000000", "--locked-in", "--"];
    let (text, errors, _) = said(lab(&limits).args(["/usr/bin/perl", "-e", &attack]));
    assert_eq!(text, "refused: Operation not permitted", "{errors}");
}

/// Has a program of the system ask for memory that belongs to no process.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[test]
fn what_is_locked_in_has_no_memory_but_that_of_its_processes() {
    const SHMGET: u32 = 29;
    const MEMFD_CREATE: u32 = 319;
    let asks = format!(
        "my $name = 'a'; my @got = (syscall({MEMFD_CREATE}, $name, 0), \
         syscall({SHMGET}, 0, 4096, 0600)); print \"@got\";"
    );
    let limits = ["limited", "--memory", "2000000000", "--locked-in", "--"];
    let (text, errors, _) = said(lab(&limits).args(["/usr/bin/perl", "-e", &asks]));
    assert_eq!(text, "-1 -1", "{errors}");
}

/// Where the kernel has no second table of calls, it would say that there is no such function.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[test]
fn what_is_locked_in_does_not_get_around_it_by_the_numbers_of_x32() {
    const X32: u32 = 0x4000_0000;
    // ptrace, process_vm_readv, process_vm_writev, pidfd_getfd, memfd_create
    let calls = [521, 539, 540, 438, 319].map(|number| (X32 + number).to_string()).join(", ");
    let attack =
        format!("foreach my $call ({calls}) {{ syscall($call, 0, 0, 0, 0); print \"$!\\n\" }}");
    let limits = ["limited", "--memory", "2000000000", "--locked-in", "--"];
    let (text, errors, _) = said(lab(&limits).args(["/usr/bin/perl", "-e", &attack]));
    assert_eq!(text, "Operation not permitted\n".repeat(5), "{errors}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let folder = TempDir::new().expect("there is room");
    let (empty, other) = (folder.path().join("empty"), folder.path().join("other"));
    fs::write(&empty, "").expect("there is room");
    fs::write(&other, "{\"a\":1}").expect("there is room");
    for file in [empty, other] {
        let (_, errors, status) = said(lab(&["merge"]).arg(file));
        assert!(status == Some(2) && errors.contains("has no run as lab stress"), "{errors}");
    }
    let [passed, failed, on_threads] = [
        ("sim", "null", "passed"),
        ("sim", "\"it broke\"", "failed"),
        ("threads", "null", "on_threads"),
    ]
    .map(|(world, failure, name)| {
        let file = folder.path().join(name);
        let run = format!(
            "{{\"test\":\"basic_3A\",\"package\":\"p\",\"target\":\"labs\",\"world\":\"{world}\",\
             \"strategy\":null,\"seed\":3,\"took_us\":1,\"time_us\":1,\"failure\":{failure}}}\n"
        );
        fs::write(&file, run).expect("there is room");
        file
    });
    for (other, sentence) in [(failed, "ended otherwise"), (on_threads, "others in sim")] {
        let (_, errors, status) = said(lab(&["merge"]).args([&passed, &other]));
        assert!(status == Some(2) && errors.contains(sentence), "{errors}");
    }
    let (_, errors, status) = said(&mut on_hostile("stress", &["", "-n", "1"]));
    assert!(status == Some(2) && errors.contains("an empty name would fit every"), "{errors}");
}

#[test]
fn the_last_of_all_seeds_can_be_the_first() {
    let last = ["passes", "-n", "2", "--first-seed", "18446744073709551615"];
    let (text, errors, status) = said(&mut on_hostile("stress", &last));
    assert_eq!(status, Some(0), "{text}{errors}");
}

#[test]
fn code_under_test_is_not_told_which_seeds_come() {
    let seeds = ["looks_for_seeds", "-n", "20", "--first-seed", "7777777000"];
    let (text, errors, status) = said(&mut on_hostile("stress", &seeds));
    assert_eq!(status, Some(0), "{text}{errors}");
}

#[test]
fn each_test_costs_its_own_points_alone() {
    let tests = [
        "passes",
        "sometimes",
        "aborts",
        "aborts_on",
        "exits",
        "overflows",
        "eats_memory",
        "eats_with_others",
        "floods",
        "says",
    ];
    let settings = ["--seeds", "5", "--json", "--memory", "512"];
    let arguments: Vec<&str> = tests.into_iter().chain(settings).collect();
    let (text, errors, status) = said(&mut on_hostile("grade", &arguments));
    assert_eq!(status, Some(1), "{errors}");
    let grade: Value = serde_json::from_str(&text).expect("it is JSON alone");
    let tests = grade["tests"].as_array().expect("a list");
    let of = |name: &str| {
        let test = tests.iter().find(|test| test["test"] == name).expect("it was run");
        let (points, passed) = (test["points"].as_f64(), test["passed"].as_u64());
        let message = test["first_failure"]["message"].as_str().unwrap_or_default();
        (points.expect("a number"), passed.expect("a number"), message.to_string())
    };
    assert_eq!(of("passes_0X"), (2.0, 5, String::new()));
    assert_eq!(of("aborts_on_2_0X").1, 2, "0 and 1, and then it has lost its points");
    for (name, message) in [
        ("fails_sometimes_0X", "seed 3 is one of the bad ones"),
        ("aborts_0X", "the test's process aborted"),
        ("aborts_on_2_0X", "the test's process aborted"),
        ("exits_0X", "the test's process left no result"),
        ("overflows_0X", "(a stack overflow?)"),
        ("eats_memory_0X", "the test's process aborted"),
        ("eats_with_others_0X", "its processes together took more than 512 MB of memory"),
        ("says_it_passed_0X", "but it did not"),
    ] {
        let (points, _, told) = of(name);
        assert!(points == 0.0 && told.contains(message), "{name}: {points} points, {told}");
    }
    assert_eq!((grade["points"].as_f64(), grade["of"].as_u64()), (Some(4.0), Some(20)));
}

#[test]
fn a_test_that_stands_still_is_ended_with_all_that_it_started() {
    let folder = TempDir::new().expect("there is room");
    let child = folder.path().join("child");
    let arguments = ["stands_still", "--seeds", "1", "--limit", "2s", "--json"];
    let (text, _, status) = said(on_hostile("grade", &arguments).env("HOSTILE_CHILD", &child));
    assert_eq!(status, Some(1));
    assert!(text.contains("it did not end within 2s, and was killed"), "{text}");
    let child = fs::read_to_string(&child).expect("it started one");
    // A killed process takes a moment to be gone.
    let gone = (0..500).any(|_| {
        !lives(&child) || {
            sleep(Duration::from_millis(10));
            false
        }
    });
    assert!(gone, "what a killed test had started still lives");
}

#[test]
fn points_are_shared_by_seeds_if_the_rule_says_so() {
    let arguments = ["fails_sometimes", "passes", "--seeds", "10", "--rule", "share"];
    let (text, _, status) = said(&mut on_hostile("grade", &arguments));
    assert_eq!(status, Some(1));
    assert!(text.contains("fails_sometimes_0X    1.6/2   2 of 10 seeds failed"), "{text}");
    assert!(text.contains("3.6 of 4 points, 10 seeds each in sim"), "{text}");
    let footer = "FAIL fails_sometimes_0X · sim pct · seed 3 · 0.001 s · seed 3 is one of the bad";
    assert!(text.contains(footer), "{text}");
}

#[test]
fn exit_status_0_means_that_everything_passed() {
    let (text, _, status) = said(&mut on_hostile("grade", &["passes", "--seeds", "3"]));
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("2 of 2 points"), "{text}");
}

#[test]
fn a_campaign_goes_on_after_failures_and_groups_them() {
    let arguments = ["sometimes", "passes", "aborts_on_2", "-n", "50"];
    let (text, errors, status) = said(&mut on_hostile("stress", &arguments));
    assert_eq!(status, Some(1), "{errors}");
    let line = |start: &str| {
        let line = text.lines().find(|line| line.starts_with(start)).unwrap_or_default();
        line.split_whitespace().take(3).map(str::to_string).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line("passes_0X"), "passes_0X 50 0");
    assert_eq!(line("fails_sometimes_0X"), "fails_sometimes_0X 50 10");
    assert_eq!(line("aborts_on_2_0X"), "aborts_on_2_0X 50 1");
    let kind = "  10 x seed # is one of the bad ones (lab/examples/hostile.rs:#)\n      \
                seeds 3, 8, 13, 18, 23, ...\n      \
                lab replay fails_sometimes_0X --seed 3 -p hostile";
    assert!(text.contains(kind), "{text}");
    assert!(text.contains("reports and traces:\n"), "{text}");
    let kept = text.lines().find(|line| line.ends_with("fails_sometimes_0X-3"));
    let report = fs::read_to_string(Path::new(kept.expect("a folder").trim()).join("report.txt"));
    assert!(report.expect("a report").contains("(replayed: same failure)"));
}

#[test]
fn a_campaign_that_ends_with_its_first_failure_has_its_whole_report() {
    let arguments = ["sometimes", "--until-fail", "-j", "1", "-n", "1000"];
    let (text, errors, status) = said(&mut on_hostile("stress", &arguments));
    assert_eq!(status, Some(1), "{errors}");
    assert!(text.contains("\nfails_sometimes_0X        4       1 "), "{text}");
    let kept = text.lines().find(|line| line.ends_with("fails_sometimes_0X-3"));
    let report = fs::read_to_string(Path::new(kept.expect("a folder").trim()).join("report.txt"));
    let report = report.expect("a report");
    assert!(report.contains("(replayed: same failure)"), "{report:?}");
}

#[test]
fn a_campaign_may_have_more_runs_than_can_be_counted() {
    let all = u64::MAX.to_string();
    let (text, errors, status) =
        said(&mut on_hostile("stress", &["passes", "sometimes", "-n", &all, "--until-fail"]));
    assert_eq!(status, Some(1), "{text}{errors}");
}

#[test]
fn shards_and_an_interrupted_campaign_come_to_the_same_as_one_campaign() {
    let folder = TempDir::new().expect("there is room");
    let file = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let tests = ["passes", "sometimes", "aborts_on_2"];
    let stress = |more: &[&str]| {
        let arguments: Vec<&str> = tests.iter().chain(more).copied().collect();
        said(&mut on_hostile("stress", &arguments)).0
    };
    let table = |text: &str| {
        let kept = text.lines().take_while(|line| !line.starts_with("reports and traces"));
        let mut lines: Vec<String> = kept.map(str::to_string).collect();
        lines.retain(|line| !line.is_empty());
        // Several files know no order of the tests.
        lines.sort_unstable();
        lines
    };
    let whole = table(&stress(&["-n", "30"]));

    let (one, two) = (file("1.jsonl"), file("2.jsonl"));
    stress(&["-n", "30", "--shard", "1/2", "--json", &one]);
    stress(&["-n", "30", "--shard", "2/2", "--json", &two]);
    let (merged, _, status) = said(&mut lab(&["merge", &one, &two, &one]));
    assert_eq!(status, Some(1));
    assert_eq!(table(&merged), whole, "a file that is named twice counts once");

    // What an interrupted campaign leaves: some runs, and half a line, or a line without its end.
    let text = fs::read_to_string(&one).expect("it was written");
    let end_of_a_line = text[..text.len() * 2 / 3].rfind('\n').expect("there are lines");
    for left in [end_of_a_line - 5, end_of_a_line] {
        let rest = file("rest.jsonl");
        fs::write(&rest, &text[..left]).expect("there is room");
        let resumed = stress(&["-n", "30", "--json", &rest, "--resume"]);
        assert_eq!(table(&resumed), whole);
        let lines = fs::read_to_string(&rest).expect("it was written").lines().count();
        assert_eq!(lines, 3 * 30, "each run is there once");
    }
}

/// Sends a signal as a terminal does.
fn interrupt(child: &Child) {
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(sent.is_ok_and(|status| status.success()));
}

#[test]
fn ctrl_c_ends_a_campaign_with_the_table_so_far() {
    let mut command = on_hostile("stress", &["passes", "--for", "10m"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
    sleep(Duration::from_millis(1_500));
    interrupt(&child);
    let output = child.wait_with_output().expect("it ends");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.starts_with("stopped; so far:\ntest "), "{text}");
    assert!(text.contains("\npasses_0X ") && text.contains("\ntotal "), "{text}");
    assert_eq!(output.status.code(), Some(130), "no run failed, and not all were run");
}

/// A terminal sends its signal to a whole group, and a worker is in ours while it starts.
#[test]
fn ctrl_c_that_meets_a_worker_on_its_start_is_no_failure_of_its_test() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = TempDir::new().expect("there is room");
    let program = folder.path().join("interrupted");
    let hostile = hostile();
    let script =
        format!("#!/bin/sh\n[ \"$1\" = --list ] && exec {hostile:?} \"$@\"\nkill -INT $$\n");
    fs::write(&program, script).expect("there is room");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let (text, errors, status) =
        said(lab(&["stress", "passes", "--until-fail", "--program"]).arg(&program));
    assert_eq!(status, Some(130), "{text}{errors}");
    assert!(text.starts_with("stopped; so far:\ntest "), "{text}");
    assert!(text.contains("\ntotal            0       0 "), "{text}");
}

#[test]
fn ctrl_c_ends_a_grading_and_leaves_the_report_that_was_there() {
    let folder = TempDir::new().expect("there is room");
    let (begun, report) = (folder.path().join("begun"), folder.path().join("junit.xml"));
    fs::write(&report, "of the last time").expect("there is room");
    let mut command = on_hostile("grade", &["stands_still", "--junit"]);
    command.arg(&report).env("HOSTILE_CHILD", &begun);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let child = command.spawn().expect("it starts");
    while !begun.exists() {
        sleep(Duration::from_millis(10));
    }
    interrupt(&child);
    let output = child.wait_with_output().expect("it ends");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.ends_with("stopped: nothing is graded\n"), "{errors}");
    assert_eq!(output.status.code(), Some(130), "{errors}");
    assert_eq!(fs::read_to_string(&report).expect("it is there"), "of the last time");
}

#[test]
fn a_new_report_takes_the_place_of_a_longer_one() {
    let folder = TempDir::new().expect("there is room");
    let report = folder.path().join("junit.xml");
    fs::write(&report, "x".repeat(1 << 16)).expect("there is room");
    let grade = ["passes", "--seeds", "1", "--junit"];
    let (_, errors, status) = said(on_hostile("grade", &grade).arg(&report));
    assert_eq!(status, Some(0), "{errors}");
    let xml = fs::read_to_string(&report).expect("it is there");
    assert!(xml.starts_with("<?xml ") && xml.ends_with("</testsuites>\n"), "{xml}");
}

#[test]
fn a_program_that_does_not_say_what_it_holds_is_not_waited_for() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = TempDir::new().expect("there is room");
    let program = folder.path().join("silent");
    fs::write(&program, "#!/bin/sh\nsleep 1000 & wait\n").expect("there is room");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let (_, errors, status) = said(lab(&["grade", "--limit", "1s", "--program"]).arg(&program));
    assert_eq!(status, Some(2), "{errors}");
    let sentence =
        "silent could not be asked for its tests: it did not end within 1s, and was killed";
    assert!(errors.contains(sentence), "{errors}");
}

#[test]
fn what_only_this_program_calls_is_in_no_list_of_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let (script, _, _) = said(&mut lab(&["completions", shell]));
        assert!(script.contains("stress") && !script.contains("limited"), "{shell}: {script}");
    }
}

#[test]
fn bad_input_is_refused_with_a_sentence() {
    for (arguments, sentence) in [
        (&["stress", "figure9"][..], "no test and no part is called \"figure9\": the parts are 0X"),
        (&["stress", "pases_0X"], "called \"pases_0X\". The nearest names are passes_0X"),
        (&["stress", "passes", "-n", "3", "--shard", "4/8"], "part 4 of 8"),
        (&["stress", "--shard", "9/8"], "it must be K/N with K from 1 to N, as in 3/8"),
        (&["stress", "--for", "soon"], "it must be a number of seconds, minutes or hours"),
        (&["replay", "_0X", "--seed", "1"], "\"_0X\" fits several tests"),
        (&["replay", "passes", "--seed", "x"], "it must be a number from 0 to"),
    ] {
        let (_, errors, status) = said(&mut on_hostile(arguments[0], &arguments[1..]));
        assert_eq!(status, Some(2), "{arguments:?}: {errors}");
        assert!(errors.contains(sentence), "{arguments:?}: {errors}");
    }
    let (_, errors, status) = said(&mut lab(&["merge", "/no/such/file"]));
    assert_eq!(status, Some(2));
    assert!(errors.starts_with("error: /no/such/file cannot be read: No such file"), "{errors}");
    let (_, errors, _) = said(&mut lab(&["merge", file!()]));
    assert!(
        errors.contains("cannot be read") || errors.contains("line 1, is not a run"),
        "{errors}"
    );
}

#[test]
fn a_replay_is_the_same_run_and_tells_all() {
    let arguments = ["fails_sometimes", "--seed", "8"];
    let (one, _, status) = said(&mut on_hostile("replay", &arguments));
    assert_eq!(status, Some(1));
    assert!(one.contains("seed 8 is one of the bad ones"), "{one}");
    assert!(one.contains("(replayed: same failure)"), "{one}");
}

#[test]
fn a_replay_has_no_more_memory_than_a_grading() {
    let replay = |test| said(&mut on_hostile("replay", &[test, "--seed", "1", "--memory", "512"]));
    let (text, _, status) = replay("eats_memory");
    assert!(status == Some(1) && text.contains("the test's process aborted"), "{text}");
    let (_, errors, status) = replay("eats_with_others");
    assert!(status == Some(1) && errors.contains("together took more than 512 MB"), "{errors}");
}

#[test]
fn a_replay_that_passes_leaves_a_trace_that_can_be_looked_at() {
    let (text, errors, status) = said(&mut on_hostile("replay", &["passes", "--seed", "8"]));
    assert_eq!(status, Some(0), "{text}{errors}");
    let line = text.lines().last().expect("it says something");
    let folder = Path::new(line.strip_prefix("trace    ").expect("the last line names the trace"));
    assert!(folder.ends_with("lab/passes_0X-8"), "{line}");
    // As a person would write it, who stands where the shell says.
    let folder = Path::new(&std::env::var("PWD").unwrap_or_default()).join(folder);
    let events = fs::read_to_string(folder.join("events.jsonl")).expect("it is there");
    assert!(events.contains("synced the folder"), "{events}");
}
