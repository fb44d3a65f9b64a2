//! Where code is locked in that nobody trusts: `bubblewrap`, a well-known program for it.
//!
//! Inside there is no network, no process but its own, no home, no file but the system's and those
//! that are named, all of them read-only, and a small `/tmp` that goes with it: whatever is written
//! there, no disk gets full, and no memory either, for it cannot make a place of its own, in which
//! it could mount what it likes. When its first process ends, all that it started ends. And no
//! process reaches into another one ([`reach_into_no_other`]): the one that runs code under test
//! also holds its report.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::geteuid;

use crate::refusal::Refusal;

/// The user that untrusted code runs as, if we are root: `nobody`, as everywhere.
const NOBODY: u32 = 65_534;
/// Room in `/tmp`, and in `/dev/shm`. It is memory, and of another kind than what a process has.
pub(crate) const TMP_BYTES: u64 = 256 << 20;
/// Of the system, what a program or a linker needs.
const SYSTEM: [&str; 4] =
    ["/etc/alternatives", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d"];
/// These are links into /usr, or folders of their own on older systems.
const LINKED: [&str; 4] = ["bin", "lib", "lib64", "sbin"];

/// What is seen inside.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sandbox {
    /// Files and folders that can be read, where they are, and what is put in their place if it is
    /// another.
    pub(crate) readable: Vec<(PathBuf, PathBuf)>,
    /// Folders that can be written, where they are.
    pub(crate) writable: Vec<PathBuf>,
    /// The user inside; none for ours.
    pub(crate) user: Option<u32>,
    /// Processes and threads, in all.
    pub(crate) processes: u64,
    /// Whether there is a `/proc`. Compilers want it; code under test could find its own open
    /// report there.
    pub(crate) proc: bool,
}

impl Sandbox {
    /// Whoever runs untrusted code.
    pub(crate) fn untrusted_user() -> Option<u32> {
        geteuid().is_root().then_some(NOBODY)
    }

    /// Has a file or folder be seen where it is.
    pub(crate) fn show(&mut self, path: &Path) {
        self.readable.push((path.to_path_buf(), path.to_path_buf()));
    }

    /// Has `content` be seen at `place`.
    pub(crate) fn show_at(&mut self, place: &Path, content: &Path) {
        self.readable.push((place.to_path_buf(), content.to_path_buf()));
    }

    /// The program that locks in, and its arguments; those of the program to be locked in follow.
    /// It does them in their order: what comes later lies over what came before.
    pub(crate) fn arguments(&self, folder: &Path) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = Vec::new();
        let mut add = |words: &[&dyn AsRef<std::ffi::OsStr>]| {
            arguments.extend(words.iter().map(|word| word.as_ref().to_os_string()));
        };
        add(&[&"bwrap", &"--unshare-all", &"--die-with-parent", &"--new-session"]);
        // Who has a user namespace is root there, and mounts a /tmp of any size.
        add(&[&"--unshare-user", &"--disable-userns"]);
        add(&[&"--ro-bind", &"/usr", &"/usr", &"--dev", &"/dev", &"--remount-ro", &"/dev"]);
        add(&[&"--size", &TMP_BYTES.to_string(), &"--tmpfs", &"/dev/shm"]);
        if self.proc {
            add(&[&"--proc", &"/proc"]);
        }
        add(&[&"--size", &TMP_BYTES.to_string(), &"--tmpfs", &"/tmp"]);
        for name in LINKED {
            let (path, inside) = (Path::new("/").join(name), Path::new("usr").join(name));
            match path.is_symlink() {
                true => add(&[&"--symlink", &inside, &path]),
                false => add(&[&"--ro-bind-try", &path, &path]),
            }
        }
        SYSTEM.iter().for_each(|path| add(&[&"--ro-bind-try", path, path]));
        for (place, content) in &self.readable {
            add(&[&"--ro-bind", content, place]);
        }
        self.writable.iter().for_each(|path| add(&[&"--bind", path, path]));
        // What all of this is mounted on is a tmpfs, as large as half of the machine's memory.
        add(&[&"--remount-ro", &"/"]);
        add(&[&"--chdir", &folder, &"--"]);
        arguments
    }

    /// Starts a program here that does nothing. Gives what bubblewrap says if it cannot.
    ///
    /// # Errors
    /// If bubblewrap cannot be started.
    pub(crate) fn complaint(&self, folder: &Path) -> io::Result<Option<String>> {
        let arguments = self.arguments(folder);
        let mut command = Command::new(&arguments[0]);
        command.args(&arguments[1..]).arg("/bin/true").stdin(Stdio::null());
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        let output = command.output()?;
        let said = || String::from_utf8_lossy(&output.stderr).trim().to_string();
        Ok((!output.status.success()).then(said))
    }
}

/// From now on this process, what it becomes and what they start cannot trace another process, read
/// or write its memory, or take over a file that it has open. Programs of the system that code
/// under test may start, `perl` for one, could do that to whoever started them. Nor do they get
/// memory that belongs to no process, in which nobody would see what they take
/// ([`crate::together`]).
///
/// # Errors
/// If the kernel has no such filters.
#[cfg(target_os = "linux")]
pub(crate) fn refuse_calls() -> Result<(), Refusal> {
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

    use crate::refusal::because;

    let reaching = [
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_pidfd_getfd,
    ];
    let hiding = [libc::SYS_memfd_create, libc::SYS_memfd_secret, libc::SYS_shmget];
    let no_way = || "code cannot be kept from calls that lead out of its place on this machine";
    let machine = std::env::consts::ARCH.try_into().map_err(because(no_way()))?;
    let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let refused_calls = reaching.into_iter().chain(hiding).flat_map(numbers);
    let rules = refused_calls.map(|call| (call, Vec::new())).collect();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, machine);
    let program: Result<BpfProgram, _> = filter.and_then(TryInto::try_into);
    apply_filter(&program.map_err(because(no_way()))?).map_err(because(no_way()))
}

/// A call's number, and those that it has in x32: an x86-64 kernel may take both, and a filter does
/// not know one from the other.
#[cfg(target_os = "linux")]
fn numbers(call: i64) -> Vec<i64> {
    const X32: i64 = 0x4000_0000;
    let own = match call {
        _ if cfg!(not(target_arch = "x86_64")) => return vec![call],
        libc::SYS_ptrace => 521,
        libc::SYS_process_vm_readv => 539,
        libc::SYS_process_vm_writev => 540,
        call => call,
    };
    vec![call, own | X32]
}

/// Whether code can be locked in here.
///
/// # Errors
/// If not: says what is missing.
pub(crate) fn check() -> Result<(), Refusal> {
    let sandbox = Sandbox { proc: true, ..Sandbox::default() };
    match sandbox.complaint(Path::new("/")) {
        Ok(None) => Ok(()),
        Ok(Some(said)) => Err(Refusal(format!(
            "bubblewrap, of which it takes 0.8 or later, cannot lock code in on this machine, and \
             nothing else may run submissions: {said}"
        ))),
        Err(_) => Err(Refusal::new(
            "submissions are run locked in, by bubblewrap, which is not installed: on Debian and \
             Ubuntu, apt-get install bubblewrap",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a shell says that is locked in.
    fn said(sandbox: &Sandbox, script: &str) -> String {
        let arguments = sandbox.arguments(Path::new("/"));
        let mut command = Command::new(&arguments[0]);
        command.args(&arguments[1..]).args(["/bin/sh", "-c", script]).stdin(Stdio::null());
        let output = command.output().expect("bubblewrap is installed");
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&text).into_owned()
    }

    #[test]
    fn there_is_no_place_to_write_to_but_those_of_a_known_size() {
        let mut sandbox = Sandbox { proc: true, ..Sandbox::default() };
        let shown = Path::new(env!("CARGO_MANIFEST_DIR"));
        sandbox.show(shown);
        let above = shown.ancestors().filter(|place| !place.starts_with("/tmp"));
        let places: Vec<String> = above.map(|place| place.display().to_string()).collect();
        let script = format!(
            "for place in {} /etc /usr /dev /proc; do \
                 touch $place/written 2> /dev/null && echo \"$place can be written\"; \
             done; \
             touch /tmp/written /dev/shm/written && df --output=size --block-size=1 /tmp /dev/shm",
            places.join(" ")
        );
        let size = TMP_BYTES.to_string();
        let told = said(&sandbox, &script);
        let lines: Vec<&str> = told.lines().map(str::trim).collect();
        assert_eq!(lines, ["1B-blocks", size.as_str(), size.as_str()], "{told}");
    }

    #[test]
    fn nobody_gets_a_place_of_their_own_in_which_they_are_root() {
        let sandbox = Sandbox { proc: true, ..Sandbox::default() };
        let told = said(&sandbox, "unshare --user --map-root-user --mount echo here it is");
        assert!(told.starts_with("unshare: unshare failed"), "{told}");
    }
}
