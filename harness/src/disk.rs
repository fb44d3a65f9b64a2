//! The disk of a simulated server: it survives the server, and takes its time.
//!
//! A save takes 0.05 to 1 ms, drawn from the disk's own stream, and becomes durable somewhere in
//! the middle: a crash before that leaves what was there, a crash after it the new state, and
//! nothing leaves a mixture.

use std::sync::Arc;
use std::time::Duration;

use contract::{Disk, DiskBackend};
use labrt::group::Group;
use labrt::random::{self, Stream};
use labrt::sync::Shared;
use labrt::thread;
use labrt::trace::{self, EventKind};

use crate::plan::{CrashPoint, Crashes};

#[derive(Default)]
struct Contents {
    state: Vec<u8>,
    snapshot: Vec<u8>,
}

/// What one server has on its disk, for all its incarnations.
pub(crate) struct Platter {
    server: usize,
    contents: Shared<Contents>,
    delays: Shared<Stream>,
}

/// The disk as one incarnation has it.
struct Mounted {
    platter: Arc<Platter>,
    group: Group,
    crashes: Arc<Crashes>,
}

impl Platter {
    pub(crate) fn new(server: usize) -> Self {
        let delays = Shared::new(random::stream("disk", server as u64));
        Self { server, contents: Shared::default(), delays }
    }

    /// The disk for an incarnation: what that writes after its crash goes nowhere.
    pub(crate) fn mount(self: &Arc<Self>, group: &Group, crashes: &Arc<Crashes>) -> Disk {
        let (platter, group) = (Arc::clone(self), group.clone());
        Disk::new(Mounted { platter, group, crashes: Arc::clone(crashes) })
    }

    fn draw_delay(&self) -> Duration {
        let range = Duration::from_micros(50)..Duration::from_millis(1);
        self.delays.with(|delays| delays.duration(range))
    }
}

impl DiskBackend for Mounted {
    fn save(&self, state: Vec<u8>, snapshot: Option<Vec<u8>>) {
        let Platter { server, ref contents, .. } = *self.platter;
        let delay = self.platter.draw_delay();
        self.crashes.note(server, CrashPoint::SaveBegun);
        thread::sleep(delay / 2);
        let size = state.len();
        contents.with(|contents| {
            // Looked at in here: the next incarnation's first save must not be overwritten.
            if self.group.is_alive() {
                contents.state = state;
                let old = std::mem::take(&mut contents.snapshot);
                contents.snapshot = snapshot.unwrap_or(old);
            }
        });
        trace::record(Some(server), "persist", EventKind::Note, || format!("saved {size} B"));
        thread::sleep(delay - delay / 2);
        self.crashes.note(server, CrashPoint::SaveDone);
    }

    fn read_state(&self) -> Vec<u8> {
        self.platter.contents.with(|contents| contents.state.clone())
    }

    fn read_snapshot(&self) -> Vec<u8> {
        self.platter.contents.with(|contents| contents.snapshot.clone())
    }

    fn raft_state_size(&self) -> usize {
        self.platter.contents.with(|contents| contents.state.len())
    }
}
