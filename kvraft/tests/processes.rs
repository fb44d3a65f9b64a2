//! The service as processes: what a person at a shell may expect of it.

use std::fs::{self, File, Permissions};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use labrpc::tcp::{Client, Options};
use labrt::thread;
use labrt::time::Duration;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tempfile::TempDir;

/// Far more than anything here takes, on a machine that does other things as well.
const TIMEOUT_S: &str = "60";

fn kvraft(arguments: &[&str], folder: &Path) -> Command {
    let mut command = bound_to_us(env!("CARGO_BIN_EXE_kvraft"));
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    command
}

/// Runs a program so that it ends with the test, whatever ends that.
fn bound_to_us(program: &str) -> Command {
    if !cfg!(target_os = "linux") {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", program]);
    command
}

fn text(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    format!("{out}{err}")
}

/// The process in a line of `status`.
fn process_of(line: &str) -> Option<Pid> {
    let number = line.split("process").nth(1)?.split_whitespace().next()?;
    Pid::from_raw(number.parse().ok()?)
}

/// A cluster in a folder.
struct Cluster<'a> {
    process: Child,
    folder: &'a Path,
}

impl<'a> Cluster<'a> {
    /// Starts one, and waits until it answers.
    fn start(folder: &'a Path) -> Self {
        let said = File::create(folder.join("said")).expect("it can be written");
        let errors = said.try_clone().expect("it can be shared");
        let mut command = kvraft(&["cluster"], folder);
        let process = command.stdout(said).stderr(errors).spawn().expect("it can be started");
        let mut cluster = Self { process, folder };
        cluster.wait_for_servers();
        cluster
    }

    /// Starts one that says what it says to nobody.
    fn start_unheard(folder: &'a Path) -> Self {
        let mut command = kvraft(&["cluster"], folder);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().expect("it can be started");
        drop((process.stdout.take(), process.stderr.take()));
        let mut cluster = Self { process, folder };
        cluster.wait_for_servers();
        cluster
    }

    /// Waits until all three answer.
    fn wait_for_servers(&mut self) {
        while !self.folder.join("kvraft-data/addresses").exists() || self.servers().len() < 3 {
            let ended = self.process.try_wait().expect("it was started");
            assert_eq!(ended, None, "the cluster has ended");
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn run(&self, arguments: &[&str]) -> String {
        let timeout = ["--timeout", TIMEOUT_S];
        let output = kvraft(&[arguments, &timeout].concat(), self.folder).output();
        let output = output.expect("it can be started");
        assert!(output.status.success(), "{arguments:?}: {}", text(&output));
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// The processes of the servers that answer, the leader first.
    fn servers(&self) -> Vec<Pid> {
        let output = kvraft(&["status"], self.folder).output().expect("it can be started");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut lines: Vec<&str> = text.lines().filter(|line| line.contains("process")).collect();
        lines.sort_by_key(|line| !line.contains("leader"));
        lines.into_iter().filter_map(process_of).collect()
    }

    /// The process of the server of this number.
    fn process(&self, id: usize) -> Pid {
        let status = self.run(&["status"]);
        let line = status.lines().find(|line| line.starts_with(&format!("S{id} ")));
        line.and_then(process_of).expect("it answers")
    }

    /// What it has said so far, on both outputs.
    fn said(&self) -> String {
        fs::read_to_string(self.folder.join("said")).expect("it can be read")
    }

    fn signal(&self, signal: Signal) {
        let process = Pid::from_raw(self.process.id().cast_signed()).expect("it has a number");
        kill_process(process, signal).expect("it runs");
    }

    fn stop(mut self) {
        self.signal(Signal::INT);
        let status = self.process.wait().expect("it ends");
        assert!(status.success(), "it ended with {status}");
    }
}

impl Drop for Cluster<'_> {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn wait_until_gone(processes: &[Pid]) {
    // A process that has ended and that nobody has waited for is still there, as a zombie.
    let is_there = |process: &Pid| {
        let stat = fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero()));
        let is_zombie = stat.is_ok_and(|stat| stat.contains(") Z "));
        test_kill_process(*process).is_ok() && !is_zombie
    };
    while processes.iter().any(is_there) {
        thread::sleep(Duration::from_millis(10));
    }
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder can be made for the test")
}

#[test]
fn what_was_acknowledged_survives_the_death_of_any_server_and_of_the_leader() {
    let folder = folder();
    let cluster = Cluster::start(folder.path());
    cluster.run(&["put", "x", "0"]);
    for round in 1..=6 {
        let servers = cluster.servers();
        // The leader each other time.
        let victim = if round % 2 == 0 { servers.first() } else { servers.last() };
        kill_process(*victim.expect("a majority answers"), Signal::KILL).expect("it runs");
        cluster.run(&["append", "x", &format!(" {round}")]);
        let numbers: Vec<String> = (0..=round).map(|round| round.to_string()).collect();
        assert_eq!(cluster.run(&["get", "x"]), numbers.join(" "));
        while cluster.servers().len() < 3 {
            thread::sleep(Duration::from_millis(10));
        }
    }
    cluster.stop();
}

#[test]
fn a_cluster_that_was_stopped_leaves_no_process_and_goes_on_with_its_data() {
    let folder = folder();
    let cluster = Cluster::start(folder.path());
    cluster.run(&["put", "x", "kept"]);
    let servers = cluster.servers();
    cluster.stop();
    wait_until_gone(&servers);
    let cluster = Cluster::start(folder.path());
    assert_eq!(cluster.run(&["get", "x"]), "kept");
    cluster.stop();
}

#[test]
fn servers_end_with_their_cluster_though_it_is_killed_and_they_stand_still() {
    let folder = folder();
    let cluster = Cluster::start(folder.path());
    let servers = cluster.servers();
    kill_process(servers[0], Signal::STOP).expect("it runs");
    cluster.signal(Signal::KILL);
    wait_until_gone(&servers);
}

#[test]
fn ctrl_c_ends_a_server_that_stands_still() {
    let folder = folder();
    let cluster = Cluster::start(folder.path());
    let servers = cluster.servers();
    kill_process(servers[0], Signal::STOP).expect("it runs");
    cluster.stop();
    wait_until_gone(&servers);
}

#[test]
fn a_cluster_goes_on_though_nobody_reads_what_it_says() {
    let folder = folder();
    let mut cluster = Cluster::start_unheard(folder.path());
    let victim = cluster.process(1);
    kill_process(victim, Signal::KILL).expect("it runs");
    wait_until_gone(&[victim]);
    cluster.wait_for_servers();
    cluster.stop();
}

#[test]
fn a_server_that_has_lost_its_data_does_not_come_back_and_the_others_go_on() {
    let folder = folder();
    let cluster = Cluster::start(folder.path());
    cluster.run(&["put", "x", "kept"]);
    let victim = cluster.process(1);
    let data = folder.path().join("kvraft-data/s1");
    for file in fs::read_dir(&data).expect("it is there") {
        fs::remove_file(file.expect("it can be read").path()).expect("it can be removed");
    }
    kill_process(victim, Signal::KILL).expect("it runs");
    let refused = "kvraft-data/s1 has no data any more: ";
    while !cluster.said().contains(refused) {
        assert!(!cluster.said().contains("it comes back"), "{}", cluster.said());
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(cluster.run(&["get", "x"]), "kept");
    cluster.stop();
    let again = kvraft(&["cluster"], folder.path()).output().expect("it can be started");
    assert!(!again.status.success() && text(&again).contains(refused), "{}", text(&again));
}

/// A leader of a later version, perhaps: what it sends cannot be applied.
#[test]
fn a_server_whose_thread_panics_ends_and_says_so() {
    let folder = folder();
    let (own, peer) = (free_address(), free_address());
    let peers = format!("{own},{peer}");
    let mut command =
        kvraft(&["serve", "--id", "0", "--peers", &peers, "--data", "d"], folder.path());
    let server = command.stderr(Stdio::piped()).spawn().expect("it can be started");
    let client = Client::new(own, &Options::default());
    assert!(client.wait_until_connected(Duration::from_secs(60)), "nobody listens");
    // Term, leader, last index and its term, bytes.
    let args = (5u64, 1u64, 9u64, 5u64, b"no snapshot".to_vec());
    let taken = client.end().call::<_, u64>("RaftRpc", "install_snapshot", &args);
    assert_eq!(taken, Ok(5), "it is the leader of term 5");
    let output = server.wait_with_output().expect("it ends");
    let sentence =
        "error: S0 has stopped, for it is not in order: S0 cannot go on: a leader's snapshot, ";
    assert!(!output.status.success() && text(&output).contains(sentence), "{}", text(&output));
}

/// The only server of a service, which a shell starts.
struct Alone {
    folder: TempDir,
    address: String,
}

impl Alone {
    fn new() -> Self {
        Self { folder: folder(), address: free_address().to_string() }
    }

    /// Starts it. The shell does `first`, and with it the rights of root are gone from what it
    /// starts: they would open any file.
    fn serve(&self, first: &str) -> Child {
        let peers = &self.address;
        let script = format!(
            "{first}
             [ $(id -u) != 0 ] || as='setpriv --inh-caps=-all --bounding-set=-all'
             exec $as \"$0\" serve --id 0 --peers {peers} --data d"
        );
        let mut command = bound_to_us("bash");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_kvraft")]).current_dir(&self.folder);
        command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it can be started")
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let to = ["--servers", &self.address, "--timeout", "5"];
        let mut command = kvraft(&[arguments, &to].concat(), self.folder.path());
        command.output().expect("it can be started")
    }

    /// Puts values until the server has ended by itself, and returns how many were acknowledged.
    /// After the first it calls `spoil`.
    fn put_until_it_ends(&self, mut server: Child, value: &str, spoil: impl FnOnce()) -> usize {
        let mut spoil = Some(spoil);
        let mut acknowledged = 0;
        while server.try_wait().expect("it was started").is_none() {
            let put = self.run(&["put", &format!("k{acknowledged}"), value]);
            acknowledged += usize::from(put.status.success());
            assert!(acknowledged < 200, "it goes on though its disk fails");
            if acknowledged > 0 {
                spoil.take().into_iter().for_each(|spoil| spoil());
            }
        }
        let sentence = "error: S0 has stopped: its disk, d, has failed. What it acknowledged \
                        before is there";
        says(server, sentence);
        acknowledged
    }

    /// Starts it once more and expects what was acknowledged.
    fn assert_kept(&self, acknowledged: usize, value: &str) {
        let mut again = self.serve("");
        for number in 0..acknowledged {
            let got = self.run(&["get", &format!("k{number}")]);
            assert_eq!(text(&got).trim_end(), value, "k{number} was acknowledged");
        }
        again.kill().and_then(|()| again.wait()).expect("it runs");
    }
}

/// Expects that it ends as something that failed, with this sentence.
fn says(server: Child, sentence: &str) {
    let output = server.wait_with_output().expect("it was started");
    assert!(!output.status.success() && text(&output).contains(sentence), "{}", text(&output));
}

/// The disk takes no more than so many kilobytes in a file: as when it is full, a write fails. (The
/// signal that comes with that limit is ignored.)
#[test]
fn a_server_whose_disk_is_full_ends_and_says_so_and_what_it_acknowledged_is_there() {
    let alone = Alone::new();
    let value = "v".repeat(20_000);
    let full = alone.serve("trap '' XFSZ; ulimit -f 64");
    let acknowledged = alone.put_until_it_ends(full, &value, || {});
    assert!((1..4).contains(&acknowledged), "{acknowledged} of 20 kB went into 64 kB");
    alone.assert_kept(acknowledged, &value);
}

/// What it writes to an open file goes on; the next file it wants to begin, it may not.
#[test]
fn a_server_that_may_not_make_files_ends_and_says_so_and_what_it_acknowledged_is_there() {
    let alone = Alone::new();
    let value = "v".repeat(100_000);
    let data = alone.folder.path().join("d");
    let permit = |mode| fs::set_permissions(&data, Permissions::from_mode(mode));
    let server = alone.serve("");
    let forbid = || permit(0o500).expect("it is ours");
    let acknowledged = alone.put_until_it_ends(server, &value, forbid);
    permit(0o000).expect("it is ours");
    says(alone.serve(""), "error: cannot open d: Permission denied");
    permit(0o700).expect("it is ours");
    alone.assert_kept(acknowledged, &value);
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("it has an address")
}

#[test]
fn a_second_cluster_in_the_folder_is_refused_and_the_first_goes_on() {
    let folder = folder();
    let cluster = Cluster::start(folder.path());
    cluster.run(&["put", "x", "1"]);
    let output = kvraft(&["cluster"], folder.path()).output().expect("it can be started");
    let sentence =
        "error: a cluster runs in kvraft-data already: stop it (Ctrl-C), or name another";
    assert!(!output.status.success() && text(&output).contains(sentence), "{}", text(&output));
    let serve = ["serve", "--id", "0", "--peers", "127.0.0.1:0", "--data", "kvraft-data/s0"];
    let output = kvraft(&serve, folder.path()).output().expect("it can be started");
    let sentence = "error: kvraft-data/s0 is in use by another server that still runs";
    assert!(!output.status.success() && text(&output).contains(sentence), "{}", text(&output));
    assert_eq!(cluster.run(&["get", "x"]), "1");
}

#[test]
fn bad_input_is_refused_with_what_to_do() {
    let folder = folder();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = taken.local_addr().expect("it has an address").port().to_string();
    let peers = format!("127.0.0.1:{port}");
    fs::write(folder.path().join("file"), b"").expect("it can be written");
    fs::create_dir(folder.path().join("torn")).expect("it can be made");
    fs::write(folder.path().join("torn/addresses"), b"").expect("it can be written");
    for (arguments, sentence) in [
        (&["get", "x"][..], "there is no cluster in kvraft-data: start one there (kvraft cluster)"),
        (&["cluster", "--port", &port], "is not free: "),
        (&["serve", "--id", "3", "--peers", &peers, "--data", "d"], "no server 3 among 1 peers"),
        (&["serve", "--id", "0", "--peers", &peers, "--data", "d"], "S0 cannot serve on 127.0.0.1"),
        (
            &["serve", "--id", "0", "--peers", &peers, "--data", "file"],
            "cannot make file: not a directory",
        ),
        (&["cluster", "--data", "torn"], "torn/addresses is not a list of addresses: it must have"),
        (&["get", "x", "--servers", "nowhere"], "invalid socket address"),
        (
            &["put", "x", "1", "--timeout", "1", "--servers", "127.0.0.1:1,127.0.0.1:2"],
            "no answer within 1 s; 0 of 2 servers can be reached, and a majority must agree. \
             Whether the operation takes effect is unknown",
        ),
        (
            &["get", "x", "--timeout", "2", "--servers", "127.0.0.1:1"],
            "no answer yet: 0 of 1 servers can be reached, and a majority must agree; 1 s more",
        ),
    ] {
        let output = kvraft(arguments, folder.path()).output().expect("it can be started");
        let said = text(&output);
        assert!(!output.status.success() && said.contains(sentence), "{arguments:?}: {said}");
    }
}
