//! A cluster of cores whose clock, network and disks are driven by a seed.

mod oracle;
mod random;

use std::time::Duration;

use raft::core::{
    Config, Effect, HardState, Input, LogPosition, Moment, Node, Reply, Request, RequestId,
    ServerId, WriteId,
};

use oracle::Oracle;
pub(crate) use random::Random;

/// A server: its incarnation, if it is up, and its disk.
struct Server {
    node: Option<Node>,
    incarnation: u64,
    durable: HardState,
    pending: Vec<(WriteId, HardState)>,
    last_log: LogPosition,
    /// Its own clock's offset from the simulation's.
    offset: Duration,
    /// By request id: the caller, its incarnation, and what it asked.
    requests: Vec<(ServerId, u64, Request)>,
}

/// A message in flight; a request as long as it has no reply.
#[derive(Clone)]
struct Message {
    from: ServerId,
    to: ServerId,
    /// The caller's.
    incarnation: u64,
    request: Request,
    reply: Option<Reply>,
}

pub(crate) struct Simulation {
    pub(crate) random: Random,
    pub(crate) oracle: Oracle,
    pub(crate) crashes: u64,
    pub(crate) duplicates: u64,
    servers: Vec<Server>,
    in_flight: Vec<Message>,
    config: Config,
    now: Duration,
    /// Whether writes complete at once.
    fast_disks: bool,
}

impl Simulation {
    /// One to five servers in an early term, with logs of different length.
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let servers: Vec<_> = (0..=random.below(5)).map(|_| Server::new(&mut random)).collect();
        let last_logs = servers.iter().map(|server| server.last_log).collect();
        let config = Config { pre_vote: random.one_in(2), ..Config::default() };
        let mut simulation = Self {
            random,
            oracle: Oracle::new(last_logs),
            crashes: 0,
            duplicates: 0,
            servers,
            in_flight: Vec::new(),
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
            8..60 => self.deliver_any(false),
            60..67 => self.deliver_any(true),
            67..71 => self.lose_any(),
            71..96 => self.persist_some(id),
            96..98 => self.crash(id),
            _ => (0..self.servers.len()).for_each(|id| self.start(id)),
        }
    }

    /// From now on nothing goes wrong. What is in flight still arrives.
    pub(crate) fn heal(&mut self) {
        self.fast_disks = true;
        for id in 0..self.servers.len() {
            self.start(id);
            self.persist_all(id);
        }
    }

    /// Runs from timer to timer, until there is a leader whom everybody follows.
    pub(crate) fn run_until_a_leader_is_followed_by_all(&mut self) {
        const LIMIT: Duration = Duration::from_secs(60);
        let start = self.now;
        while !self.is_settled() {
            assert!(self.now < start + LIMIT, "no leader in a minute without faults");
            while !self.in_flight.is_empty() {
                let message = self.in_flight.remove(0);
                self.deliver(message);
            }
            self.advance_to_next_deadline();
            self.tick_all();
        }
    }

    fn is_settled(&self) -> bool {
        let mut nodes = self.servers.iter().filter_map(|server| server.node.as_ref());
        let leader = nodes.clone().find(|node| node.is_leader());
        leader.is_some_and(|leader| {
            nodes.all(|node| {
                node.leader() == Some(leader.id()) && node.current_term() == leader.current_term()
            })
        })
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
        let index = self.random.index(self.in_flight.len());
        if duplicate {
            self.duplicates += 1;
            self.deliver(self.in_flight[index].clone());
        } else {
            let message = self.in_flight.remove(index);
            self.deliver(message);
        }
    }

    fn lose_any(&mut self) {
        if !self.in_flight.is_empty() {
            let index = self.random.index(self.in_flight.len());
            self.in_flight.swap_remove(index);
        }
    }

    fn deliver(&mut self, message: Message) {
        let Message { from, to, incarnation, request, reply } = message;
        let server = &mut self.servers[to];
        let input = match reply {
            Some(_) if server.incarnation != incarnation => return,
            Some(reply) => Input::Reply { from, request, reply },
            None => {
                let id = RequestId(server.requests.len() as u64);
                server.requests.push((from, incarnation, request.clone()));
                Input::Request { from, id, request }
            }
        };
        self.step(to, input);
    }

    /// Gives a server that is up one input, and checks what it does.
    fn step(&mut self, id: ServerId, input: Input) {
        let moment = self.moment(id);
        let server = &mut self.servers[id];
        let Some(node) = &mut server.node else { return };
        let term_before = node.current_term();
        let mut effects = Vec::new();
        node.step(moment, input, &mut effects);
        assert!(node.current_term() >= term_before, "the term of S{id} went back");
        self.oracle.observe(node, server.durable);
        for effect in effects {
            self.carry_out(id, effect);
        }
        if self.fast_disks {
            self.persist_all(id);
        }
    }

    fn carry_out(&mut self, id: ServerId, effect: Effect) {
        let server = &mut self.servers[id];
        match effect {
            Effect::Call { to, request } => {
                self.oracle.request_leaves(id, &request, server.durable);
                let incarnation = server.incarnation;
                self.in_flight.push(Message { from: id, to, incarnation, request, reply: None });
            }
            Effect::Answer { id: request_id, reply } => {
                let (to, incarnation, request) = server.requests[request_id.0 as usize].clone();
                self.oracle.reply_leaves(id, &request, &reply, server.durable);
                let reply = Some(reply);
                self.in_flight.push(Message { from: id, to, incarnation, request, reply });
            }
            Effect::Persist { write, hard_state } => server.pending.push((write, hard_state)),
        }
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
        let (write, hard_state) = server.pending[count - 1];
        server.pending.drain(..count);
        server.durable = hard_state;
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
            let (durable, last_log) = (server.durable, server.last_log);
            let node = Node::new(id, servers, config, durable, last_log, moment);
            server.node = Some(node.expect("the disk holds what a server of this cluster wrote"));
        }
    }

    fn moment(&mut self, id: ServerId) -> Moment {
        Moment { now: self.now + self.servers[id].offset, jitter: self.random.next() as u32 }
    }
}

impl Server {
    fn new(random: &mut Random) -> Self {
        let current_term = random.below(3);
        let term = random.below(current_term + 1);
        // The first entry has a term, and there is none of term 0.
        let index = if term == 0 { 0 } else { 1 + random.below(2) };
        Self {
            node: None,
            incarnation: 0,
            durable: HardState { current_term, voted_for: None },
            pending: Vec::new(),
            last_log: LogPosition { term, index },
            offset: Duration::from_millis(random.below(1000)),
            requests: Vec::new(),
        }
    }

    /// On the simulation's clock.
    fn next_deadline(&self) -> Option<Duration> {
        Some(self.node.as_ref()?.next_deadline().saturating_sub(self.offset))
    }
}
