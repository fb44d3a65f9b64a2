//! The program that every server runs, whatever node it has and wherever it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use contract::{Disk, Index, Term};
use labrpc::Service;
use labrt::channel::{Receiver, Sender};
use labrt::group::Group;
use labrt::thread::Builder;
use serde::{Deserialize, Serialize};

use super::kind::{Kind, Seat};

/// What a test asks of a server's program.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    Start(Vec<u8>),
    GetState,
    Kill,
}

/// What the program answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Response {
    Started(Option<(Index, Term)>),
    State(Term, bool),
    Killed,
}

impl Response {
    /// The term that the server says it leads.
    pub(crate) fn term_led(&self) -> Option<Term> {
        match *self {
            Self::Started(Some((_, term))) | Self::State(term, true) => Some(term),
            Self::Started(None) | Self::State(_, false) | Self::Killed => None,
        }
    }

    /// The answer to [`Request::Start`].
    pub(crate) fn started(self) -> Option<(Index, Term)> {
        match self {
            Self::Started(started) => started,
            other => unreachable!("the program answered Start with {other:?}"),
        }
    }

    /// The answer to [`Request::GetState`].
    pub(crate) fn state(self) -> (Term, bool) {
        match self {
            Self::State(term, leader) => (term, leader),
            other => unreachable!("the program answered GetState with {other:?}"),
        }
    }
}

/// A request, with its number and the way back for its answer, which closes if the server dies.
pub(crate) struct Call {
    pub(crate) number: u64,
    pub(crate) request: Request,
    pub(crate) answer: Sender<(u64, Response)>,
}

/// What runs in a server's group: the node and its service, who answers the test, who observes.
pub(crate) struct Program {
    pub(crate) seat: Seat,
    pub(crate) calls: Receiver<Call>,
    /// The witness is to look.
    pub(crate) looks: Receiver<()>,
}

impl Program {
    /// Runs until nobody can call any more. `serve` has the others reach the node's services, as
    /// long as what it gives back is there, and `ready` tells that all has begun.
    pub(crate) fn run<K: Kind, S>(
        self,
        kind: &K,
        disk: Disk,
        serve: impl FnOnce(Vec<Service>) -> S,
        ready: impl FnOnce(&S),
    ) {
        let Self { seat, calls, looks } = self;
        let (group, witness) = (seat.group.clone(), Arc::clone(&seat.witness));
        let node = kind.make(seat, disk);
        let serving = serve(K::services(&node));
        let observed = Arc::clone(&node);
        Builder::new().name("oracle").group(&group).observer().spawn(move || {
            while looks.recv_or_end().is_ok() {
                witness.look(&|| K::get_state(&observed));
            }
        });
        ready(&serving);
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
        while let Ok(Call { number, request, answer }) = self.calls.recv_or_end() {
            if self.waiting.fetch_sub(1, Ordering::Relaxed) == 1 {
                self.waiting.fetch_add(1, Ordering::Relaxed);
                let control = Arc::clone(&self);
                self.group.spawn("control", move || control.serve());
            }
            let _ = answer.send((number, self.answer(request)));
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
