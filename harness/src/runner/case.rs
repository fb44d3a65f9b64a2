//! A test as data: what it claims, on what ground, and how it is run.

use std::process::ExitCode;

use contract::{KvNode, RaftNode};
use labrt::settings::WorldKind;

use crate::cluster::MadeOf;
use crate::process::Newborn;
use crate::server::{KvKind, RaftKind, Role};
use crate::{Cluster, KvCluster, KvSetup, Summary};

/// A graded test. A table of them is written as
///
/// ```
/// # use harness::{Cluster, runner::TestCase};
/// # fn basic_agree(_: &Cluster) {}
/// const CASES: &[TestCase] = &[
///     TestCase::mirrored("basic_agree_2B", 3, basic_agree)
///         .claims("commands are applied everywhere, in order", "Raft §5.3")
///         .worth(5),
/// ];
/// assert_eq!(CASES[0].part(), "2B");
/// ```
pub struct TestCase {
    /// The full name, with the part at its end: `initial_election_2A`.
    pub name: &'static str,
    /// What must hold, in one sentence.
    pub claim: &'static str,
    /// What the claim rests on: a section of the Raft paper or dissertation.
    pub paper: &'static str,
    /// What passing is worth.
    pub points: u32,
    /// Whether it mirrors a test of the MIT labs; if not, it is one of our own.
    pub mirrored: bool,
    /// Servers in its cluster.
    pub servers: usize,
    /// Where it makes sense.
    pub worlds: Worlds,
    /// Whether it makes sense only for servers that use their disk's journal.
    pub needs_journal: bool,
    /// The script.
    pub body: Body,
}

/// What a test is done to, and how.
#[derive(Clone, Copy, Debug)]
pub enum Body {
    /// Servers of a Raft.
    Raft(fn(&Cluster)),
    /// Servers of a key-value service, and their clients.
    Kv(KvSetup, fn(&KvCluster)),
}

/// What is tested: a Raft, a key-value service, or both.
///
/// ```
/// # use harness::runner::Implementation;
/// # fn of<R: contract::RaftNode, K: contract::KvNode>() {
/// let raft_alone = Implementation::new().raft::<R>();
/// let both = Implementation::new().raft::<R>().kv::<K>();
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Implementation {
    raft: Option<Raft>,
    kv: Option<Kv>,
}

/// What can be made of a Raft, whose type is known where this is made.
#[derive(Clone, Copy, Debug)]
struct Raft {
    home: fn() -> &'static str,
    start: fn(usize, MadeOf) -> Cluster,
    serve: fn(Newborn) -> ExitCode,
}

/// The same of a key-value service.
#[derive(Clone, Copy, Debug)]
struct Kv {
    home: fn() -> &'static str,
    start: fn(usize, KvSetup, MadeOf) -> KvCluster,
    serve: fn(Newborn, Option<usize>) -> ExitCode,
}

impl Implementation {
    /// Nothing so far.
    pub const fn new() -> Self {
        Self { raft: None, kv: None }
    }

    pub(super) fn has_raft(&self) -> bool {
        self.raft.is_some()
    }

    /// The crates that the nodes come from: `raft and kvraft`.
    pub(super) fn homes(&self) -> String {
        let homes = [self.raft.map(|raft| (raft.home)()), self.kv.map(|kv| (kv.home)())];
        let mut homes: Vec<&str> = homes.into_iter().flatten().collect();
        homes.dedup();
        homes.join(" and ")
    }

    /// This Raft.
    #[must_use]
    pub const fn raft<R: RaftNode>(self) -> Self {
        let serve = |newborn: Newborn| newborn.serve(&RaftKind::<R>::new());
        let raft = Raft { home: crate_of::<R>, start: Cluster::of_raft::<R>, serve };
        Self { raft: Some(raft), ..self }
    }

    /// This key-value service, with the Raft that it brings.
    #[must_use]
    pub const fn kv<K: KvNode>(self) -> Self {
        let serve =
            |newborn: Newborn, max_raft_state| newborn.serve(&KvKind::<K>::new(max_raft_state));
        let kv = Kv { home: crate_of::<K>, start: KvCluster::of_kv::<K>, serve };
        Self { kv: Some(kv), ..self }
    }

    /// Runs a server, in a process that was started for that.
    pub(super) fn serve(&self, role: Role, newborn: Newborn) -> ExitCode {
        let served = match role {
            Role::Raft => self.raft.map(|raft| (raft.serve)(newborn)),
            Role::Kv(max) => self.kv.map(|kv| (kv.serve)(newborn, max)),
        };
        // The process that started us is the same program.
        served.unwrap_or(ExitCode::FAILURE)
    }
}

/// The crate in which a type is defined: its path begins with that.
fn crate_of<T>() -> &'static str {
    let path = std::any::type_name::<T>();
    path.split_once("::").map_or(path, |(name, _)| name)
}

/// The worlds in which a test makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worlds {
    /// All of them.
    All,
    /// The simulated one only, and why.
    SimOnly(&'static str),
    /// All but that of processes, and why.
    InOneProcess(&'static str),
}

impl Worlds {
    /// Why a test makes no sense in a world, if so.
    pub fn reason_against(self, world: WorldKind) -> Option<&'static str> {
        match self {
            Self::SimOnly(reason) if world.is_real() => Some(reason),
            Self::InOneProcess(reason) if world == WorldKind::Processes => Some(reason),
            _ => None,
        }
    }
}

impl TestCase {
    /// A test that mirrors one of the MIT labs.
    pub const fn mirrored(name: &'static str, servers: usize, body: fn(&Cluster)) -> Self {
        Self { mirrored: true, ..Self::ours(name, servers, body) }
    }

    /// A test of our own.
    pub const fn ours(name: &'static str, servers: usize, body: fn(&Cluster)) -> Self {
        Self::new(name, servers, Body::Raft(body))
    }

    /// A test of a key-value service that mirrors one of the MIT labs. Once its body has returned,
    /// what the clients were told is checked too.
    pub const fn mirrored_kv(
        name: &'static str,
        servers: usize,
        setup: KvSetup,
        body: fn(&KvCluster),
    ) -> Self {
        Self { mirrored: true, ..Self::ours_kv(name, servers, setup, body) }
    }

    /// A test of our own of a key-value service.
    pub const fn ours_kv(
        name: &'static str,
        servers: usize,
        setup: KvSetup,
        body: fn(&KvCluster),
    ) -> Self {
        Self::new(name, servers, Body::Kv(setup, body))
    }

    const fn new(name: &'static str, servers: usize, body: Body) -> Self {
        Self {
            name,
            claim: "",
            paper: "",
            points: 0,
            mirrored: false,
            servers,
            worlds: Worlds::All,
            needs_journal: false,
            body,
        }
    }

    /// What must hold, in one sentence, and what that rests on.
    #[must_use]
    pub const fn claims(self, claim: &'static str, paper: &'static str) -> Self {
        Self { claim, paper, ..self }
    }

    /// What passing is worth.
    #[must_use]
    pub const fn worth(self, points: u32) -> Self {
        Self { points, ..self }
    }

    /// It makes sense in a simulated world only, and why.
    #[must_use]
    pub const fn only_in_sim(self, reason: &'static str) -> Self {
        Self { worlds: Worlds::SimOnly(reason), ..self }
    }

    /// It makes no sense where each server is a process, and why.
    #[must_use]
    pub const fn not_with_processes(self, reason: &'static str) -> Self {
        Self { worlds: Worlds::InOneProcess(reason), ..self }
    }

    /// It makes sense only for servers that use their disk's journal.
    #[must_use]
    pub const fn needs_journal(self) -> Self {
        Self { needs_journal: true, ..self }
    }

    /// The part it belongs to: `2A`.
    pub fn part(&self) -> &'static str {
        self.name.rsplit_once('_').map_or("", |(_, part)| part)
    }

    /// Whether it is about something that there is.
    pub fn concerns(&self, implementation: &Implementation) -> bool {
        match self.body {
            Body::Raft(_) => implementation.raft.is_some(),
            Body::Kv(..) => implementation.kv.is_some(),
        }
    }

    /// Runs it in the present world. In real time, `end` sees to it that the servers are gone.
    ///
    /// # Panics
    /// If it fails; or if it is about something that there is not.
    pub(super) fn run(
        &self,
        implementation: &Implementation,
        made_of: MadeOf,
        end: fn(&Cluster),
    ) -> Summary {
        match self.body {
            Body::Raft(body) => {
                let raft = implementation.raft.expect("the test is about a Raft");
                let cluster = (raft.start)(self.servers, made_of);
                body(&cluster);
                end(&cluster);
                cluster.summary()
            }
            Body::Kv(setup, body) => {
                let kv = implementation.kv.expect("the test is about a key-value service");
                let cluster = (kv.start)(self.servers, setup, made_of);
                body(&cluster);
                cluster.check_history();
                end(&cluster.servers);
                cluster.summary()
            }
        }
    }

    /// Whether nothing was forgotten that a person is told.
    pub(super) fn is_complete(&self) -> bool {
        !self.claim.is_empty() && !self.paper.is_empty() && self.points > 0
    }
}
