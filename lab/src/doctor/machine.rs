//! Cores, memory, disk, clock, and what a process may use.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::thread::available_parallelism;

use labrt::channel;
use labrt::thread;
use labrt::time::{Duration, Instant};
use rustix::process::{Resource, getrlimit};

use super::Finding;
use crate::limits;
use crate::options;
use crate::together::memory_of_machine;

const GB: f64 = 1e9;
/// A build's largest compiler and linker want so much.
const MEMORY_GB: f64 = 1.0;
const MEMORY_MIN_GB: f64 = 0.25;
/// What a debug and a release build take, with room for traces.
const DISK_GB: f64 = 3.0;
const DISK_MIN_GB: f64 = 0.5;
/// Above this, a server in real time waits for its disk as long as for a good part of a heartbeat.
const SYNC_MAX: Duration = Duration::from_millis(20);
/// Above this, times in real time say little.
const CLOCK_MAX: Duration = Duration::from_micros(10);
/// Above this, heartbeats 100 ms apart and time-outs of 300 ms begin to meet.
const LATE_MAX: Duration = Duration::from_millis(20);
/// Limits below these are met by tests and builds.
const FILES_MIN: u64 = 256;
const PROCESSES_MIN: u64 = 256;

/// How long, and how often, something is measured.
const MEASURED_MAX: Duration = Duration::from_secs(1);
const SYNCS: usize = 32;
const SLEEPS: usize = 50;
const SLEEP: Duration = Duration::from_millis(10);
const CLOCK_READS: usize = 10_000;

/// Looks at everything but the tools. `target` is where builds go; it may not be there yet.
pub(super) fn look(target: &Path) -> Vec<Finding> {
    let mut folder = target.ancestors();
    let folder = folder.find(|folder| folder.is_dir()).unwrap_or(Path::new("."));
    vec![
        cores(available_parallelism().map_or(1, usize::from)),
        memory(),
        disk(target, rustix::fs::statvfs(folder).map(|disk| disk.f_bavail * disk.f_frsize)),
        sync(&synced(folder)),
        clock(resolution()),
        sleep(&mut lateness()),
        limits(&|resource| {
            let limit = getrlimit(resource);
            (limit.current, limit.maximum)
        }),
    ]
}

fn cores(count: usize) -> Finding {
    match count {
        1 => Finding::warn(
            "cores",
            "1: campaigns run one seed at a time, and with LAB_WORLD=threads nothing is parallel. \
             Longer campaigns are for a larger machine",
        ),
        count => Finding::ok("cores", count.to_string()),
    }
}

fn memory() -> Finding {
    match memory_of_machine() {
        Some((free, total)) => judge_memory(free, total),
        None => Finding::warn("memory", "nobody can tell"),
    }
}

fn judge_memory(free: u64, total: u64) -> Finding {
    const THING: &str = "memory";
    let (free, total) = (free as f64 / GB, total as f64 / GB);
    let found = format!("{free:.1} GB free of {total:.1} GB");
    if free < MEMORY_MIN_GB {
        Finding::bad(THING, format!("{found}. No build has room in that: end other programs"))
    } else if free < MEMORY_GB {
        let advice = "Compilers side by side may be killed: end other programs, or build and run \
                      one at a time (cargo -j 1, lab stress -j 1)";
        Finding::warn(THING, format!("{found}. {advice}"))
    } else {
        Finding::ok(THING, found)
    }
}

fn disk(target: &Path, free: rustix::io::Result<u64>) -> Finding {
    const THING: &str = "disk";
    let target = target.display();
    let free = match free {
        Ok(free) => free as f64 / GB,
        Err(error) => return Finding::warn(THING, format!("{target} cannot be asked: {error}")),
    };
    let found = format!("{free:.1} GB free in {target}");
    let advice = "make room, or set CARGO_TARGET_DIR to a folder on another disk";
    if free < DISK_MIN_GB {
        Finding::bad(THING, format!("{found}. No build has room in that: {advice}"))
    } else if free < DISK_GB {
        let taken = format!("Debug and release builds take some {DISK_GB:.0} GB");
        Finding::warn(THING, format!("{found}. {taken}: {advice}"))
    } else {
        Finding::ok(THING, found)
    }
}

/// How long it takes until a few bytes are on the disk, again and again. Whoever measures may hang
/// in it, so it is a thread of its own, which nobody waits for.
fn synced(folder: &Path) -> Result<Vec<Duration>, String> {
    let (tx, rx) = channel::unbounded();
    let folder = folder.to_path_buf();
    thread::spawn(move || {
        let times = tempfile::tempfile_in(folder).and_then(|mut file| {
            for _ in 0..SYNCS {
                let time = sync_once(&mut file)?;
                if tx.send(Ok(time)).is_err() {
                    break;
                }
            }
            Ok(())
        });
        if let Err(error) = times {
            // Nobody listens any more: then nobody is interested.
            let _ = tx.send(Err(error));
        }
    });
    let deadline = Instant::now() + MEASURED_MAX;
    let mut times = Vec::new();
    while let Ok(time) = rx.recv_timeout(deadline.duration_since(Instant::now())) {
        times.push(time.map_err(|error: io::Error| error.to_string())?);
    }
    Ok(times)
}

fn sync_once(file: &mut File) -> io::Result<Duration> {
    file.write_all(&[7; 512])?;
    let began = Instant::now();
    file.sync_data()?;
    Ok(began.elapsed())
}

fn sync(times: &Result<Vec<Duration>, String>) -> Finding {
    const THING: &str = "sync";
    let advice = "In real time, servers that wait for their disk answer late; in sim nothing \
                  changes. Set CARGO_TARGET_DIR to a folder on a local disk";
    match times {
        Err(error) => Finding::warn(THING, format!("a file there cannot be written: {error}")),
        Ok(times) if times.is_empty() => {
            Finding::warn(THING, format!("not one write got there in {MEASURED_MAX:?}. {advice}"))
        }
        Ok(times) => {
            let median = percentile(&mut times.clone(), 50);
            let found = format!("{median:.1?} until a write is on that disk (median)");
            match median > SYNC_MAX {
                true => Finding::warn(THING, format!("{found}. {advice}")),
                false => Finding::ok(THING, found),
            }
        }
    }
}

/// The least difference between two looks at the clock.
fn resolution() -> Option<Duration> {
    let looks = (0..CLOCK_READS).map(|_| Instant::now().elapsed());
    looks.filter(|time| !time.is_zero()).min()
}

fn clock(resolution: Option<Duration>) -> Finding {
    const THING: &str = "clock";
    let advice = "Measured times say little in real time; in sim nothing changes";
    match resolution {
        Some(step) if step <= CLOCK_MAX => Finding::ok(THING, format!("steps of {step:?}")),
        Some(step) => Finding::warn(THING, format!("steps of {step:?}. {advice}")),
        None => Finding::warn(THING, format!("it stood still while it was read. {advice}")),
    }
}

/// By how much short sleeps are late.
fn lateness() -> Vec<Duration> {
    let deadline = Instant::now() + MEASURED_MAX;
    let mut times = Vec::new();
    while times.len() < SLEEPS && Instant::now() < deadline {
        let began = Instant::now();
        thread::sleep(SLEEP);
        times.push(began.elapsed().saturating_sub(SLEEP));
    }
    times
}

fn sleep(times: &mut [Duration]) -> Finding {
    let (usual, rare) = (percentile(times, 50), percentile(times, 99));
    let found = format!("{SLEEP:?} of it last {usual:.1?} longer (p50), {rare:.1?} (p99)");
    match rare > LATE_MAX {
        true => Finding::warn(
            "sleep",
            format!(
                "{found}. With LAB_WORLD=threads elections happen without a fault: end what else \
                 keeps the cores busy. In sim nothing changes"
            ),
        ),
        false => Finding::ok("sleep", found),
    }
}

/// The least time that `percent` of them do not exceed; zero of none.
fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    let rank = (times.len() * percent).div_ceil(100);
    times.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

/// The limit that holds now, and up to where it may be raised; none is no limit.
type Limit = (Option<u64>, Option<u64>);

fn limits(of: &dyn Fn(Resource) -> Limit) -> Finding {
    const THING: &str = "limits";
    let below = |limit: Option<u64>, least| limit.is_some_and(|limit| limit < least);
    let shown = |limit: Option<u64>| limit.map_or("any number of".to_string(), |n| n.to_string());
    let (files, processes) = (of(Resource::Nofile).0, of(Resource::Nproc).0);
    let found = format!("{} open files, {} processes", shown(files), shown(processes));
    if below(of(Resource::Fsize).1, limits::FILE_BYTES_MAX) {
        let advice = "Files may not grow to 1 GB, so lab cannot limit its workers to that, and \
                      starts none: raise it (ulimit -f unlimited)";
        return Finding::bad(THING, format!("{found}. {advice}"));
    }
    let mut advice = Vec::new();
    if below(files, FILES_MIN) {
        advice.push(format!("Builds and tests open more files: ulimit -n {}", FILES_MIN * 4));
    }
    if below(processes, PROCESSES_MIN) {
        advice.push(format!("Tests are processes and threads: ulimit -u {}", PROCESSES_MIN * 4));
    }
    let memory_mb = of(Resource::As).1.map(|most| most >> 20);
    if let Some(most) = memory_mb.filter(|&most| most < options::MEMORY_MB) {
        advice.push(format!("Workers may not have their usual memory: lab stress --memory {most}"));
    }
    match &advice[..] {
        [] => Finding::ok(THING, found),
        advice => Finding::warn(THING, format!("{found}. {}", advice.join(". "))),
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::super::State;
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_machine_is_fit_weak_or_unfit_by_what_it_has() {
        let states = |findings: [Finding; 3]| findings.map(|finding| finding.state);
        let memory = [8_000_000_000, 900_000_000, 200_000_000];
        let memory = memory.map(|free| judge_memory(free, 16_000_000_000));
        assert_eq!(memory[0].text, "8.0 GB free of 16.0 GB");
        assert_eq!(states(memory), [State::Ok, State::Warn, State::Bad]);
        let space = [9_000_000_000, 1_200_000_000, 100_000_000];
        let space = space.map(|free| disk(Path::new("/x/target"), Ok(free)));
        let expected = "1.2 GB free in /x/target. Debug and release builds take some 3 GB: make \
                        room, or set CARGO_TARGET_DIR to a folder on another disk";
        assert_eq!(space[1].text, expected);
        assert_eq!(states(space), [State::Ok, State::Warn, State::Bad]);
        assert_eq!((cores(1).state, cores(2).state), (State::Warn, State::Ok));
    }

    #[test]
    fn a_slow_disk_and_a_late_clock_are_told_but_sim_does_not_mind() {
        let state = |ms| sync(&Ok(vec![MS * ms; 3])).state;
        assert_eq!((state(20), state(21)), (State::Ok, State::Warn));
        assert_eq!(sync(&Ok(Vec::new())).state, State::Warn);
        assert_eq!(sync(&Err("no".to_string())).state, State::Warn);
        assert_eq!(clock(Some(Duration::from_nanos(25))).text, "steps of 25ns");
        assert_eq!(clock(Some(MS)).state, State::Warn);
        assert_eq!(clock(None).state, State::Warn);
        let mut late = [MS; 100];
        late[17] = MS * 50;
        assert_eq!(sleep(&mut late).text, "10ms of it last 1.0ms longer (p50), 1.0ms (p99)");
        late[0] = MS * 50;
        assert_eq!(sleep(&mut late).state, State::Warn);
    }

    #[test]
    fn a_percentile_is_the_least_time_that_so_many_do_not_exceed() {
        let mut times: Vec<Duration> = (1..=100).rev().map(|ms| MS * ms).collect();
        assert_eq!(
            [1, 50, 99, 100].map(|p| percentile(&mut times, p)),
            [1, 50, 99, 100].map(|p| MS * p)
        );
        assert_eq!(percentile(&mut [MS], 50), MS);
        assert_eq!(percentile(&mut [], 99), Duration::ZERO);
    }

    fn limited(resource: Resource, most: u64) -> Finding {
        limits(&|asked| if asked == resource { (Some(most), Some(most)) } else { (None, None) })
    }

    #[test]
    fn limits_that_a_run_would_meet_are_told_with_the_command_that_raises_them() {
        let none = limits(&|_| (None, None));
        assert_eq!(
            (none.state, &*none.text),
            (State::Ok, "any number of open files, any number of processes")
        );
        let files = limited(Resource::Nofile, 64);
        assert!(files.state == State::Warn && files.text.contains("ulimit -n 1024"), "{files}");
        assert!(limited(Resource::Nproc, 64).text.contains("ulimit -u 1024"));
        assert!(limited(Resource::As, 1 << 30).text.ends_with("lab stress --memory 1024"));
        assert_eq!(limited(Resource::As, 4 << 30).state, State::Ok);
        assert_eq!(limited(Resource::Fsize, 1 << 20).state, State::Bad);
        assert_eq!(limited(Resource::Fsize, 1 << 30).state, State::Ok);
    }

    #[test]
    fn a_disk_is_measured_where_one_can_write() {
        let folder = TempDir::new().expect("a folder can be made");
        assert!(synced(folder.path()).is_ok_and(|times| !times.is_empty()));
        assert!(synced(&folder.path().join("missing")).is_err());
        assert!(!lateness().is_empty());
    }
}
