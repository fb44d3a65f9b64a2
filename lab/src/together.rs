//! What the processes of a run take together.
//!
//! The system limits a process ([`crate::limits`]), and so does not see what many of them come to.
//! So somebody looks, several times a second, at the machine's processes, and adds up for each run
//! the memory of its first process and of all that descend from that. A run that has more than it
//! may is ended. Nobody needs to be root for that, or to have a control group at hand.
//!
//! What a run can have at a time, then, is its limit, what stands around it ([`BESIDE`]), and what
//! it writes between two looks: they are [`LOOK_EVERY`] apart, or ten times the CPU time that a
//! look takes if that is more (some 15 us for each process of the machine), and a core writes a
//! gigabyte or two of new memory in a second. Thirty processes that ate side by side on two cores
//! were seen to get half a gigabyte beyond the limit; and never is it more than what each of its
//! processes may reserve. Locked in, there is a `/tmp` and a `/dev/shm` of some size besides
//! ([`crate::sandbox`]).
//!
//! # Left out
//! What was moved out to a swap file; so limits of all runs at a time should come to less than the
//! machine's memory. Buffers that the kernel holds for sockets and pipes. Outside a sandbox,
//! whatever has outlived the process that started it: the system's first process takes it over, and
//! nobody can tell whose it was.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use labrt::sync::Mutex;
use labrt::time::{Duration, Instant};
use rustix::time::{ClockId, clock_gettime};
use sysinfo::{
    MemoryRefreshKind, Pid, Process, ProcessRefreshKind, ProcessesToUpdate, RefreshKind, System,
};

/// How often a run is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Looking takes this part of a core at most. It is CPU time that counts: a machine on which a look
/// is slow, because others want its cores, is no reason to look less often.
const LOOKING_SHARE: u32 = 10;

/// Beside what a run may have: who locks it in, and in a report the runner.
const BESIDE: u64 = 64 << 20;

/// One for all runs: a look at the machine serves them all.
static CENSUS: LazyLock<Mutex<Census>> = LazyLock::new(|| Mutex::new(Census::new()));

/// All processes of the machine, as they were a moment ago.
struct Census {
    /// None where nobody can tell.
    system: Option<System>,
    children: HashMap<Pid, Vec<Pid>>,
    due: Instant,
}

impl Census {
    fn new() -> Self {
        Self { system: System::new().ok(), children: HashMap::new(), due: Instant::now() }
    }

    fn look(&mut self) {
        let Some(system) = &mut self.system else { return };
        let began = cpu_time();
        let memory_alone = ProcessRefreshKind::nothing().with_memory().without_tasks();
        system.refresh_processes_specifics(ProcessesToUpdate::All, true, memory_alone);
        self.children.clear();
        for (pid, process) in system.processes() {
            if let Some(parent) = process.parent() {
                self.children.entry(parent).or_default().push(*pid);
            }
        }
        let took = cpu_time().saturating_sub(began);
        self.due = Instant::now() + LOOK_EVERY.max(took * LOOKING_SHARE);
    }

    /// Bytes that a process has and all that descend from it.
    fn memory_of(&self, first: Pid) -> u64 {
        let Some(system) = &self.system else { return 0 };
        let (mut sum, mut open, mut seen) = (0, vec![first], HashSet::new());
        while let Some(pid) = open.pop() {
            // The machine went on while it was looked at: a number may have been given out twice.
            if seen.insert(pid) {
                sum += system.process(pid).map_or(0, Process::memory);
                open.extend(self.children.get(&pid).into_iter().flatten());
            }
        }
        sum
    }
}

/// What the current thread has computed so far.
fn cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

/// Somebody's eye on a run.
pub(crate) struct Watch {
    first: Pid,
    /// Bytes that the run may have.
    limit: u64,
    next: Instant,
}

impl Watch {
    /// On a process that was started and not waited for, and on what it starts.
    pub(crate) fn on(first: u32, limit: u64) -> Self {
        Self { first: Pid::from_u32(first), limit, next: Instant::now() + LOOK_EVERY }
    }

    /// Whether they have more than they may. Costs nothing as long as nobody has looked again.
    pub(crate) fn is_beyond(&mut self) -> bool {
        if Instant::now() < self.next {
            return false;
        }
        let mut census = CENSUS.lock();
        if census.due <= Instant::now() {
            census.look();
        }
        self.next = census.due;
        if census.memory_of(self.first) <= self.limit.saturating_add(BESIDE) {
            return false;
        }
        // A process that is just starting another one shares its memory with that for a moment, and
        // would count twice.
        census.look();
        census.memory_of(self.first) > self.limit.saturating_add(BESIDE)
    }
}

/// What a person is told of a run that was ended for it.
pub(crate) fn too_much(limit: u64) -> String {
    let limit = limit >> 20;
    format!("its processes together took more than {limit} MB of memory, and were killed")
}

/// Bytes of memory that are free, and that there are; in a container, by its own limit. None if
/// nobody can tell.
pub(crate) fn memory_of_machine() -> Option<(u64, u64)> {
    let memory = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    let system = System::new_with_specifics(memory).ok()?;
    let (free, total) = (system.available_memory(), system.total_memory());
    Some(match system.cgroup_limits() {
        Some(limits) => (free.min(limits.free_memory), total.min(limits.total_memory)),
        None => (free, total),
    })
}
