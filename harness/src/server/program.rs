//! The program that every server runs, whatever node it has.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use contract::{Index, Term};
use labrpc::Network;
use labrt::channel::{Receiver, Sender};
use labrt::group::Group;
use labrt::thread::Builder;
use serde::{Deserialize, Serialize};

use super::kind::{Kind, Seat};
use crate::disk::Mount;

/// What a test asks of a server's program.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Request {
    Start(Vec<u8>),
    GetState,
    Kill,
}

/// What the program answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Response {
    Started(Option<(Index, Term)>),
    State(Term, bool),
    Killed,
}

/// A request with the way back for its answer, which closes if the server dies.
pub(super) struct Call {
    pub(super) request: Request,
    pub(super) answer: Sender<Response>,
}

/// What runs in a server's group: the node and its service, who answers the test, who observes.
pub(super) struct Program {
    pub(super) seat: Seat,
    pub(super) mount: Mount,
    pub(super) network: Network,
    pub(super) calls: Receiver<Call>,
    /// The oracle is to look.
    pub(super) nudges: Receiver<()>,
}

impl Program {
    pub(super) fn run<K: Kind>(self, kind: &K, ready: &Sender<()>) {
        let Self { seat, mount, network, calls, nudges } = self;
        let (me, group) = (seat.me, seat.group.clone());
        let Ok(disk) = mount.disk() else { return group.crash() };
        let (incarnation, oracle) = (seat.incarnation, Arc::clone(&seat.oracle));
        let node = kind.make(seat, disk);
        network.serve(me, &group, K::services(&node));
        let observed = Arc::clone(&node);
        Builder::new().name("oracle").group(&group).observer().spawn(move || {
            while nudges.recv_or_end().is_ok() {
                let reading = oracle.begin_read(me, incarnation);
                let (term, leader) = K::get_state(&observed);
                drop(reading);
                oracle.note_state(me, incarnation, term, leader);
            }
        });
        let _ = ready.send(());
        let control = Control::<K> { node, calls, group, waiting: 1.into() };
        Arc::new(control).serve();
    }
}

/// The server's program as the test calls it.
struct Control<K: Kind> {
    node: Arc<K::Node>,
    calls: Receiver<Call>,
    group: Group,
    /// Threads that wait for a call.
    waiting: AtomicUsize,
}

impl<K: Kind> Control<K> {
    /// Answers one call after the other. A call may block for long, so whoever takes one sees to it
    /// that another thread waits for the next.
    fn serve(self: Arc<Self>) {
        while let Ok(call) = self.calls.recv_or_end() {
            if self.waiting.fetch_sub(1, Ordering::Relaxed) == 1 {
                self.waiting.fetch_add(1, Ordering::Relaxed);
                let control = Arc::clone(&self);
                self.group.spawn("control", move || control.serve());
            }
            let _ = call.answer.send(self.answer(call.request));
            self.waiting.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn answer(&self, request: Request) -> Response {
        match request {
            Request::Start(command) => Response::Started(K::start(&self.node, command)),
            Request::GetState => {
                let (term, leader) = K::get_state(&self.node);
                Response::State(term, leader)
            }
            Request::Kill => {
                K::kill(&self.node);
                Response::Killed
            }
        }
    }
}
