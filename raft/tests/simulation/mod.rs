//! A cluster of cores whose clock, network and disks are driven by a seed.

mod oracle;
mod random;
mod service;

use std::collections::BTreeSet;
use std::time::Duration;

use raft::core::{
    CallId, Config, Effect, Input, Moment, Node, PersistentState, Reply, Request, RequestId,
    ServerId, ToApply, Update, WriteId,
};

use oracle::{Before, Oracle};
pub(crate) use random::Random;
use service::Service;

/// A server: its incarnation, if it is up, and its disk.
struct Server {
    node: Option<Node>,
    service: Service,
    incarnation: u64,
    durable: PersistentState,
    pending: Vec<(WriteId, Update)>,
    /// Its own clock's offset from the simulation's.
    offset: Duration,
    /// The requests by id, as they came.
    requests: Vec<Message>,
}

/// A message in flight; a request as long as it has no reply.
#[derive(Clone)]
struct Message {
    from: ServerId,
    to: ServerId,
    /// The caller's.
    incarnation: u64,
    call: CallId,
    request: Request,
    reply: Option<Reply>,
}

pub(crate) struct Simulation {
    pub(crate) random: Random,
    pub(crate) oracle: Oracle,
    pub(crate) crashes: u64,
    pub(crate) duplicates: u64,
    /// Snapshots that a leader sent and a service was told of.
    pub(crate) snapshots_applied: u64,
    servers: Vec<Server>,
    in_flight: Vec<Message>,
    /// The servers on one side of a cut.
    side: BTreeSet<ServerId>,
    commands: u64,
    config: Config,
    now: Duration,
    /// Whether writes complete at once.
    fast_disks: bool,
}

impl Simulation {
    /// One to five servers that start for the first time.
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let servers: Vec<_> = (0..=random.below(5)).map(|_| Server::new(&mut random)).collect();
        // Half of the time an append carries but one entry or two.
        let max_append_bytes = if random.one_in(2) { 60 } else { 1 << 20 };
        let config = Config { pre_vote: random.one_in(2), max_append_bytes, ..Config::default() };
        let mut simulation = Self {
            random,
            oracle: Oracle::default(),
            crashes: 0,
            duplicates: 0,
            snapshots_applied: 0,
            servers,
            in_flight: Vec::new(),
            side: BTreeSet::new(),
            commands: 0,
            config,
            now: Duration::ZERO,
            fast_disks: false,
        };
        (0..simulation.servers.len()).for_each(|id| simulation.start(id));
        simulation
    }

    /// Something happens.
    pub(crate) fn random_event(&mut self) {
        let id = self.random.index(self.servers.len());
        match self.random.below(100) {
            0..8 => self.pass_time(),
            8..55 => self.deliver_any(false),
            55..60 => self.deliver_any(true),
            60..62 => self.lose_any(),
            62..69 => self.propose(id),
            69..70 => self.cut(),
            70..71 => self.side.clear(),
            71..91 => self.persist_some(id),
            91..95 => self.apply_some(id),
            95..96 => self.snapshot(id),
            96..97 => self.leave_behind(),
            97..98 => self.crash(id),
            _ => (0..self.servers.len()).for_each(|id| self.start(id)),
        }
    }

    /// From now on nothing goes wrong. What is in flight still arrives.
    pub(crate) fn heal(&mut self) {
        self.fast_disks = true;
        self.side.clear();
        for id in 0..self.servers.len() {
            self.start(id);
            self.persist_all(id);
        }
    }

    /// Runs from timer to timer, offering commands, until all have committed one of the present
    /// leader's and all that comes before it.
    pub(crate) fn run_until_all_agree(&mut self) {
        const LIMIT: Duration = Duration::from_secs(60);
        let start = self.now;
        while !self.all_agree() {
            assert!(self.now < start + LIMIT, "no agreement in a minute without faults");
            self.run_to_next_deadline();
            (0..self.servers.len()).for_each(|id| self.propose(id));
            self.deliver_all();
            self.run_to_next_deadline();
        }
    }

    /// Runs until the next timer has struck, and all that follows from it has been said.
    fn run_to_next_deadline(&mut self) {
        self.advance_to_next_deadline();
        self.tick_all();
        self.deliver_all();
    }

    fn deliver_all(&mut self) {
        while !self.in_flight.is_empty() {
            let message = self.in_flight.remove(0);
            self.deliver(message);
        }
    }

    fn all_agree(&self) -> bool {
        let Some(leader) = self.nodes().find(|node| node.is_leader()) else { return false };
        let (term, last) = (leader.current_term(), leader.last_log());
        let agrees = |node: &Node| node.commit_index() == last.index && node.last_log() == last;
        last.term == term && self.nodes().all(agrees)
    }

    fn nodes(&self) -> impl Iterator<Item = &Node> + Clone {
        self.servers.iter().filter_map(|server| server.node.as_ref())
    }

    /// Mostly up to the next timer; now and then so far that several strike at once.
    fn pass_time(&mut self) {
        if self.random.one_in(4) {
            self.now += Duration::from_millis(self.random.below(400));
        } else {
            self.advance_to_next_deadline();
        }
        self.tick_all();
    }

    fn advance_to_next_deadline(&mut self) {
        if let Some(next) = self.servers.iter().filter_map(Server::next_deadline).min() {
            self.now = self.now.max(next);
        }
    }

    fn tick_all(&mut self) {
        (0..self.servers.len()).for_each(|id| self.step(id, Input::Tick));
    }

    fn deliver_any(&mut self, duplicate: bool) {
        if self.in_flight.is_empty() {
            return;
        }
        // Half of the time in order: else nearly everything that arrives is old news.
        let random = self.random.one_in(2);
        let index = if random { self.random.index(self.in_flight.len()) } else { 0 };
        if duplicate {
            self.duplicates += 1;
            self.deliver(self.in_flight[index].clone());
        } else {
            let message = self.in_flight.remove(index);
            self.deliver(message);
        }
    }

    fn cut(&mut self) {
        self.side = (0..self.servers.len()).filter(|_| self.random.one_in(2)).collect();
    }

    /// Those on a leader's side of a cut get on, and forget what the others do not have.
    fn leave_behind(&mut self) {
        self.cut();
        let all = 0..self.servers.len();
        for _ in 0..3 {
            all.clone().for_each(|id| self.propose(id));
            self.deliver_all();
            all.clone().for_each(|id| self.persist_all(id));
            self.deliver_all();
        }
        for id in all {
            while self.apply_one(id) {}
            self.snapshot(id);
        }
    }

    fn lose_any(&mut self) {
        if !self.in_flight.is_empty() {
            let index = self.random.index(self.in_flight.len());
            self.in_flight.swap_remove(index);
        }
    }

    fn deliver(&mut self, message: Message) {
        let Message { from, to, incarnation, call, .. } = message;
        if self.side.contains(&from) != self.side.contains(&to) {
            return;
        }
        let server = &mut self.servers[to];
        let input = match message.reply {
            Some(_) if server.incarnation != incarnation => return,
            Some(reply) => Input::Reply { from, call, request: message.request, reply },
            None => {
                let id = RequestId(server.requests.len() as u64);
                let request = message.request.clone();
                server.requests.push(message);
                Input::Request { from, id, request }
            }
        };
        self.step(to, input);
    }

    /// Gives a server that is up one input.
    fn step(&mut self, id: ServerId, input: Input) {
        let moment = self.moment(id);
        self.drive(id, |node, effects| node.step(moment, input, effects));
    }

    /// Offers a server that is up a command that nobody else has.
    fn propose(&mut self, id: ServerId) {
        self.commands += 1;
        let command = self.commands.to_be_bytes();
        self.drive(id, |node, effects| {
            node.propose(command.as_slice().into(), effects);
        });
    }

    /// Has a server's service apply some of what it is told.
    fn apply_some(&mut self, id: ServerId) {
        for _ in 0..=self.random.below(8) {
            self.apply_one(id);
        }
    }

    fn apply_one(&mut self, id: ServerId) -> bool {
        let Server { node: Some(node), service, .. } = &mut self.servers[id] else { return false };
        let Some(next) = node.next_to_apply(service.applied()) else { return false };
        self.snapshots_applied += u64::from(matches!(next, ToApply::Snapshot(_)));
        service.apply(&next);
        self.oracle.applies(id, service);
        true
    }

    /// Has a server's service make a snapshot of what it has applied, or of less.
    fn snapshot(&mut self, id: ServerId) {
        let applied = self.servers[id].service.applied();
        let index = applied - self.random.below(3).min(applied);
        let data = self.oracle.snapshot_at(index);
        self.drive(id, |node, effects| {
            node.compact(index, data, effects);
        });
    }

    /// Has a server that is up do something, and checks what it does.
    fn drive(&mut self, id: ServerId, act: impl FnOnce(&mut Node, &mut Vec<Effect>)) {
        let server = &mut self.servers[id];
        let Some(node) = &mut server.node else { return };
        let (before, commit_before) = (Before::of(node), node.commit_index());
        let mut effects = Vec::new();
        act(node, &mut effects);
        self.oracle.observe(&before, node, server.durable.hard_state);
        if node.commit_index() > commit_before {
            self.check_commit(id);
        }
        for effect in effects {
            self.carry_out(id, effect);
        }
        if self.fast_disks {
            self.persist_all(id);
        }
    }

    fn check_commit(&mut self, id: ServerId) {
        let disks: Vec<_> = self.servers.iter().map(|server| &server.durable).collect();
        let Some(committer) = &self.servers[id].node else { return };
        self.oracle.commits_up_to(committer, &disks);
        let nodes = self.servers.iter().filter_map(|server| server.node.as_ref());
        nodes.for_each(|node| self.oracle.check_leader(committer, node));
    }

    fn carry_out(&mut self, id: ServerId, effect: Effect) {
        let server = &mut self.servers[id];
        match effect {
            Effect::Call { to, call, request } => {
                self.oracle.request_leaves(id, &request, server.durable.hard_state);
                let (from, incarnation, reply) = (id, server.incarnation, None);
                self.in_flight.push(Message { from, to, incarnation, call, request, reply });
            }
            Effect::Answer { id: request_id, reply } => {
                let asked = server.requests[request_id.0 as usize].clone();
                let node = server.node.as_ref().expect("whoever answers is up");
                self.oracle.reply_leaves(node, &asked.request, &reply, &server.durable);
                let (from, to, reply) = (id, asked.from, Some(reply));
                self.in_flight.push(Message { from, to, reply, ..asked });
            }
            Effect::Persist { write, update } => self.issue_write(id, write, update),
        }
    }

    fn issue_write(&mut self, id: ServerId, write: WriteId, update: Update) {
        let Server { node, pending, .. } = &mut self.servers[id];
        if let (Some(node), Some(log)) = (node, &update.log) {
            self.oracle.log_changes(node, log);
        }
        pending.push((write, update));
    }

    /// Completes some of a server's writes, the oldest first.
    fn persist_some(&mut self, id: ServerId) {
        let pending = self.servers[id].pending.len();
        if pending > 0 {
            let count = 1 + self.random.index(pending);
            self.persist(id, count);
        }
    }

    fn persist_all(&mut self, id: ServerId) {
        let pending = self.servers[id].pending.len();
        if pending > 0 {
            self.persist(id, pending);
        }
    }

    fn persist(&mut self, id: ServerId, count: usize) {
        let server = &mut self.servers[id];
        let write = server.pending[count - 1].0;
        for (_, update) in server.pending.drain(..count) {
            let replaced = update
                .log
                .as_ref()
                .map_or(0, |log| server.durable.log.last().index.saturating_sub(log.after));
            self.oracle.replaced += replaced;
            server.durable.apply(update).expect("updates fit each other in the order of issue");
        }
        self.step(id, Input::Persisted { write });
    }

    fn crash(&mut self, id: ServerId) {
        self.crashes += 1;
        let server = &mut self.servers[id];
        server.node = None;
        server.incarnation += 1;
        server.pending.clear();
        server.requests.clear();
    }

    /// Starts a server that is down.
    fn start(&mut self, id: ServerId) {
        let moment = self.moment(id);
        let servers = self.servers.len();
        let config = self.config.clone();
        let server = &mut self.servers[id];
        if server.node.is_none() {
            let node = Node::new(id, servers, config, server.durable.clone(), moment);
            server.node = Some(node.expect("the disk holds what a server of this cluster wrote"));
            server.service = Service::restored(&server.durable);
            self.oracle.applies(id, &server.service);
        }
    }

    fn moment(&mut self, id: ServerId) -> Moment {
        Moment { now: self.now + self.servers[id].offset, jitter: self.random.next() as u32 }
    }
}

impl Server {
    fn new(random: &mut Random) -> Self {
        Self {
            node: None,
            service: Service::default(),
            incarnation: 0,
            durable: PersistentState::default(),
            pending: Vec::new(),
            offset: Duration::from_millis(random.below(1000)),
            requests: Vec::new(),
        }
    }

    /// On the simulation's clock.
    fn next_deadline(&self) -> Option<Duration> {
        Some(self.node.as_ref()?.next_deadline().saturating_sub(self.offset))
    }
}
