//! The way of one call through the network.

use std::borrow::Cow;
use std::sync::{Arc, Weak};
use std::time::Duration;

use labrt::channel::{self, Receiver, RecvTimeoutError, Sender};
use labrt::pool::Pool;
use labrt::sync::Shared;
use labrt::trace::{self, EventKind};
use labrt::{thread, timer};

use super::{Inner, Link, Message, Network, NodeId, Server, Stage};
use crate::{RpcError, Started, Then, Transport};

type Answer = Result<Vec<u8>, RpcError>;

/// The way from one node to another. It does not own the network: that owns the servers' services,
/// and those own such ends.
pub(crate) struct Route {
    pub(super) network: Weak<Inner>,
    pub(super) from: NodeId,
    pub(super) to: NodeId,
}

/// A call under way. Every copy of its request, and every reply, holds a reference; when the last
/// one goes without an answer, the call has failed.
struct Call {
    network: Network,
    number: u64,
    from: NodeId,
    to: NodeId,
    service: Cow<'static, str>,
    method: Cow<'static, str>,
    args: Vec<u8>,
    /// None once it has been told an answer: the first one counts, not that of a duplicate.
    caller: Shared<Option<Caller>>,
    /// After how long the caller learns that nobody answers.
    fails_after: Shared<Duration>,
}

/// Who is told the answer.
enum Caller {
    /// A thread waits there, or has gone away.
    Waits(Sender<Answer>),
    /// A thread of the pool does this with it.
    Then(Pool, Then),
}

impl Caller {
    fn answer(self, answer: Answer) {
        match self {
            Self::Waits(caller) => {
                let _ = caller.try_send(answer);
            }
            Self::Then(pool, then) => pool.run(move || then(answer)),
        }
    }
}

/// What was drawn for a request when it was sent.
struct Fate {
    /// One for each copy that arrives.
    delays: [Option<Duration>; 2],
    /// There is no way at all.
    unreachable: bool,
}

impl Transport for Route {
    fn call(&self, service: &'static str, method: &'static str, args: Vec<u8>) -> Answer {
        self.pass_on(service.into(), method.into(), args)
    }

    fn start(
        &self,
        service: &'static str,
        method: &'static str,
        args: Vec<u8>,
    ) -> Box<dyn Started> {
        Box::new(Sent(self.send_and_wait(service.into(), method.into(), args)))
    }

    fn call_then(
        &self,
        service: &'static str,
        method: &'static str,
        args: Vec<u8>,
        pool: &Pool,
        then: Then,
    ) {
        let caller = Caller::Then(pool.clone(), then);
        if let Err(caller) = self.send(service.into(), method.into(), args, caller) {
            caller.answer(Err(RpcError::Lost));
        }
    }
}

/// Where the answer comes; nowhere if the network is gone.
struct Sent(Option<Receiver<Answer>>);

impl Started for Sent {
    fn wait(&mut self, limit: Option<Duration>) -> Option<Answer> {
        match (&self.0, limit) {
            (None, _) => Some(Err(RpcError::Lost)),
            (Some(answer), None) => Some(wait(answer)),
            (Some(answer), Some(limit)) => match answer.recv_timeout(limit) {
                Ok(answer) => Some(answer),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => Some(Err(RpcError::Lost)),
            },
        }
    }
}

/// A caller whose server crashes meanwhile hears that the call is lost, and is unwound by whatever
/// it does next; most return at once, and are spared the unwinding.
fn wait(answer: &Receiver<Answer>) -> Answer {
    answer.recv_or_end().unwrap_or(Err(RpcError::Lost))
}

impl Route {
    /// Calls what somebody else wants called.
    pub(crate) fn pass_on(
        &self,
        service: Cow<'static, str>,
        method: Cow<'static, str>,
        args: Vec<u8>,
    ) -> Answer {
        let answer = self.send_and_wait(service, method, args).ok_or(RpcError::Lost)?;
        wait(&answer)
    }

    /// Sends a request, and gives the channel on which its answer will come; none if the network
    /// is gone.
    fn send_and_wait(
        &self,
        service: Cow<'static, str>,
        method: Cow<'static, str>,
        args: Vec<u8>,
    ) -> Option<Receiver<Answer>> {
        let (caller, answer) = channel::bounded(1);
        self.send(service, method, args, Caller::Waits(caller)).ok()?;
        Some(answer)
    }

    /// Sends a request; gives the caller back if the network is gone, or if the calling thread's
    /// server has crashed: the destructors of a server that is no more do not send.
    fn send(
        &self,
        service: Cow<'static, str>,
        method: Cow<'static, str>,
        args: Vec<u8>,
        caller: Caller,
    ) -> Result<(), Caller> {
        thread::checkpoint();
        let network = self.network.upgrade().map(Network);
        let Some(network) = network.filter(|_| !thread::is_ending()) else { return Err(caller) };
        let call = Arc::new(Call {
            number: network.number_and_count(self.to, args.len()),
            network,
            from: self.from,
            to: self.to,
            service,
            method,
            args,
            caller: Shared::new(Some(caller)),
            fails_after: Shared::default(),
        });
        call.send();
        // A hook may have crashed us right after the message left.
        thread::checkpoint();
        Ok(())
    }
}

impl Network {
    fn number_and_count(&self, to: NodeId, bytes: usize) -> u64 {
        self.0.state.with(|state| {
            state.count(to, 1, bytes);
            state.calls += 1;
            state.calls
        })
    }
}

impl Call {
    fn message<'a>(&'a self, stage: Stage, bytes: &'a [u8]) -> Message<'a> {
        let Self { number: call, from, to, .. } = *self;
        let (service, method) = (&*self.service, &*self.method);
        Message { stage, call, from, to, service, method, bytes }
    }

    /// Tells the hook and the trace that the call has come to a stage.
    fn note(&self, stage: Stage, bytes: &[u8]) {
        self.network.call_hook(&self.message(stage, bytes));
        let (from, to) = match stage {
            Stage::Sent | Stage::Answered => return,
            Stage::RequestLost | Stage::Delivered => (self.from, self.to),
            Stage::ReplyLost | Stage::Replied => (self.to, self.from),
        };
        let kind = match stage {
            Stage::RequestLost | Stage::ReplyLost => EventKind::Lost { from },
            _ => EventKind::Arrived { from },
        };
        let reply = if from == self.to { "re " } else { "" };
        trace::record(Some(to), "rpc", kind, || format!("{reply}{}", self.method));
    }

    /// The request leaves the caller.
    fn send(self: Arc<Self>) {
        self.note(Stage::Sent, &self.args);
        let fate = self.draw_fate();
        if fate.unreachable {
            self.learn_late();
        }
        if fate.delays[0].is_none() {
            self.note(Stage::RequestLost, &self.args);
        }
        for delay in fate.delays.into_iter().flatten() {
            let copy = Arc::clone(&self);
            timer::after(delay, move || copy.deliver());
        }
    }

    /// Draws what becomes of the request. Every fault has a stream of its own, and delays and
    /// copies are drawn for lost requests too: so taking one fault out does not shift the others.
    fn draw_fate(&self) -> Fate {
        self.network.0.state.with(|state| {
            let unreachable = !state.is_open(self.from, self.to);
            let Link { faults, request_losses, request_delays, copies, .. } =
                &mut state.links[self.from][self.to];
            let first = request_delays.duration(faults.request_delay.clone());
            let copied = copies.chance(faults.duplicate_ppm);
            let second = copied.then(|| copies.duration(faults.request_delay.clone()));
            let lost = request_losses.chance(faults.request_loss_ppm) || unreachable;
            let delays = if lost { [None, None] } else { [Some(first), second] };
            Fate { delays, unreachable }
        })
    }

    /// The request arrives, if the way is open and somebody is there.
    fn deliver(self: Arc<Self>) {
        // Should the server not be there, or crash before it answers, the caller learns it late.
        self.learn_late();
        let server = self.network.0.state.with(|state| {
            let open = state.is_open(self.from, self.to);
            state.server(self.to).filter(|_| open).cloned()
        });
        match server {
            Some(server) => {
                let its = Arc::clone(&server);
                server.pool.run(move || self.handle(&its));
            }
            None => self.note(Stage::RequestLost, &self.args),
        }
    }

    /// Runs the handler, on a thread of the server.
    fn handle(self: Arc<Self>, server: &Server) {
        self.note(Stage::Delivered, &self.args);
        thread::checkpoint();
        match self.run_handler(server) {
            // A server elsewhere that went away meanwhile: nothing left it.
            Err(RpcError::Lost) => self.note(Stage::ReplyLost, &[]),
            answer => self.answer(server.incarnation, answer),
        }
        thread::checkpoint();
    }

    fn run_handler(&self, server: &Server) -> Answer {
        let answer = server.handler.call(&self.service, &self.method, &self.args);
        if let Some(error) = answer.as_ref().err().filter(|error| **error != RpcError::Lost) {
            let Self { service, method, from, .. } = self;
            log::error!(target: "rpc", "{service}.{method} from {from}: {error}");
        }
        answer
    }

    fn learn_late(&self) {
        let delay = self.network.0.state.with(|state| state.unreachable_delay(self.from, self.to));
        self.fails_after.with(|after| *after = delay);
    }

    fn learn_at_once(&self) {
        self.fails_after.with(|after| *after = Duration::ZERO);
    }

    /// The reply leaves the server, unless that was cut off or replaced meanwhile.
    fn answer(self: Arc<Self>, incarnation: u64, answer: Answer) {
        let delay = self.network.0.state.with(|state| {
            if !state.is_same_server(self.to, incarnation) || !state.is_open(self.to, self.from) {
                return None;
            }
            let link = &mut state.links[self.to][self.from];
            let delay = link.faults.draw_reply_delay(&mut link.reply_delays, &mut link.reorders);
            if link.reply_losses.chance(link.faults.reply_loss_ppm) {
                self.learn_at_once();
                return None;
            }
            Some(delay)
        });
        let bytes = answer.as_deref().unwrap_or_default();
        let stage = if delay.is_some() { Stage::Answered } else { Stage::ReplyLost };
        self.note(stage, bytes);
        if let Some(delay) = delay {
            timer::after(delay, move || self.reply(answer));
        }
    }

    /// The reply arrives, if the way still is open. What became of the server after its answer
    /// left does not matter: it was its own word then.
    fn reply(&self, answer: Answer) {
        let length = answer.as_ref().map_or(0, Vec::len);
        let arrives = self.network.0.state.with(|state| {
            let arrives = state.is_open(self.to, self.from);
            if arrives {
                state.count(self.to, 0, length);
            }
            arrives
        });
        let stage = if arrives { Stage::Replied } else { Stage::ReplyLost };
        self.note(stage, answer.as_deref().unwrap_or_default());
        if arrives && let Some(caller) = self.caller.with(Option::take) {
            caller.answer(answer);
        }
    }
}

impl Drop for Call {
    /// Nobody can answer any more: the caller learns of it, now or later.
    fn drop(&mut self) {
        if let Some(caller) = self.caller.with(Option::take) {
            let delay = self.fails_after.with(|delay| *delay);
            timer::after(delay, move || caller.answer(Err(RpcError::Lost)));
        }
    }
}
