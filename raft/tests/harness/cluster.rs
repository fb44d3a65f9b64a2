//! The servers of a script, and what each input does to them.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::{self, Write as _};
use std::time::Duration;

use raft::core::{
    CallId, Config, ConfigError, Effect, Index, Input, Moment, Node, PersistentState, Reply,
    Request, RequestId, ServerId, Update, WriteId,
};

use super::network::{Message, Network};
use super::show::{self, View};

/// A server: an incarnation, if it is up, and what outlives it.
pub(crate) struct Server {
    pub(crate) node: Option<Node>,
    incarnation: u64,
    /// What a crash leaves.
    pub(crate) durable: PersistentState,
    /// Writes under way, oldest first.
    pub(crate) pending: Vec<(WriteId, Update)>,
    pub(crate) clock: Duration,
    /// The server's "random" number, the same for each draw until the script changes it.
    pub(crate) jitter: u32,
    /// The requests to be answered, by id.
    unanswered: BTreeMap<RequestId, Message>,
    /// What the server's service has applied, its snapshots included.
    pub(crate) applied: Index,
    /// How many AppendEntries it has rejected since the script last asked.
    pub(crate) rejections: u64,
}

/// The servers, their network, and the account of what happened since the last command.
pub(crate) struct Cluster {
    pub(crate) servers: Vec<Server>,
    pub(crate) network: Network,
    config: Config,
    /// Whether writes wait for the script, or complete at once.
    slow_disks: bool,
    /// How many commands were proposed: each one is another number.
    commands: u64,
    /// How many reads and transfers were asked for, likewise.
    asked: u64,
    output: String,
}

impl Cluster {
    /// Servers that start for the first time. Their time-outs are spread over the range: of three
    /// servers, S0 has 300 ms, S1 400 ms and S2 500 ms.
    pub(crate) fn new(nodes: usize, config: Config, slow_disks: bool) -> Result<Self, ConfigError> {
        let servers = (0..nodes).map(|id| Server::new(jitter(id as u128, nodes as u128))).collect();
        let network = Network::default();
        let (commands, asked, output) = (0, 0, String::new());
        let mut cluster = Self { servers, network, config, slow_disks, commands, asked, output };
        for id in 0..nodes {
            cluster.start(id)?;
        }
        Ok(cluster)
    }

    /// Starts a new incarnation from the disk.
    pub(crate) fn start(&mut self, id: ServerId) -> Result<(), ConfigError> {
        let nodes = self.servers.len();
        let config = self.config.clone();
        let server = &mut self.servers[id];
        let moment = server.moment();
        let node = Node::new(id, nodes, config, server.durable.clone(), moment)?;
        server.node = Some(node);
        server.incarnation += 1;
        server.pending.clear();
        server.unanswered.clear();
        server.applied = server.durable.log.base().index;
        let due = show::ms(server.running().next_deadline());
        let view = View::of(server.running());
        self.say(format_args!("S{id} starts as {view}, timer due at {due}"));
        Ok(())
    }

    /// Forgets all that is not on the disk.
    pub(crate) fn crash(&mut self, id: ServerId) {
        let server = &mut self.servers[id];
        server.node = None;
        let disk = show::persistent(&server.durable);
        self.say(format_args!("S{id} crashes; on its disk: {disk}"));
    }

    /// Gives a server one input and carries out what it answers.
    pub(crate) fn step(&mut self, id: ServerId, input: Input) {
        let moment = self.servers[id].moment();
        self.drive(id, |node, effects| node.step(moment, input, effects));
    }

    /// Offers a server a command of its own.
    pub(crate) fn propose(&mut self, id: ServerId) {
        self.commands += 1;
        let command = self.commands.to_be_bytes();
        let mut position = None;
        self.drive(id, |node, effects| position = node.propose(command.as_slice().into(), effects));
        if position.is_none() {
            self.say(format_args!("S{id} does not lead"));
        }
    }

    /// Asks a server up to where a read sees all.
    pub(crate) fn read(&mut self, id: ServerId) {
        self.asked += 1;
        let (moment, request) = (self.servers[id].moment(), RequestId(self.asked));
        let mut asked = Ok(());
        self.drive(id, |node, effects| asked = node.read_index(moment, request, effects));
        self.say_asked(format_args!("read {}", request.0), asked);
    }

    /// Asks a server to hand the leadership over.
    pub(crate) fn transfer(&mut self, id: ServerId, to: ServerId) {
        self.asked += 1;
        let (moment, request) = (self.servers[id].moment(), RequestId(self.asked));
        let mut asked = Ok(());
        self.drive(id, |node, effects| {
            asked = node.transfer_leadership(moment, to, request, effects);
        });
        self.say_asked(format_args!("transfer {}", request.0), asked);
    }

    fn say_asked<E: Error>(&mut self, what: fmt::Arguments<'_>, asked: Result<(), E>) {
        if let Err(error) = asked {
            self.say(format_args!("{what} is refused: {error}"));
        }
    }

    /// Has a server's service make a snapshot of what it has applied up to an index.
    pub(crate) fn snapshot(&mut self, id: ServerId, index: Index) {
        let state = format!("state at {index}").into_bytes();
        let mut write = None;
        self.drive(id, |node, effects| write = node.compact(index, state.into(), effects));
        if write.is_none() {
            self.say(format_args!("S{id} has a snapshot that is as new"));
        }
    }

    /// Has a server's service apply all that it is told to.
    pub(crate) fn apply(&mut self, id: ServerId) {
        while let Some(next) = self.servers[id].running().next_to_apply(self.servers[id].applied) {
            self.servers[id].applied = next.last_index();
            self.say(format_args!("S{id} applies {}", show::to_apply(&next)));
        }
    }

    /// Has a server do something, says what is new about it, and carries out what it wants done.
    fn drive(&mut self, id: ServerId, act: impl FnOnce(&mut Node, &mut Vec<Effect>)) {
        let mut effects = Vec::new();
        let node = self.servers[id].node.as_mut().expect("only running servers act");
        let (before, due_before) = (View::of(node), node.next_deadline());
        let log_before = node.log().clone();
        let commit_before = node.commit_index();
        act(node, &mut effects);
        let (after, due_after) = (View::of(node), node.next_deadline());
        let commit = node.commit_index();
        let log_change = show::log_change(&log_before, node.log());

        if before != after {
            self.say(format_args!("S{id} was {before}; is {after}"));
        }
        if due_before != due_after {
            self.say(format_args!("S{id} timer due at {}", show::ms(due_after)));
        }
        if let Some(change) = log_change {
            self.say(format_args!("S{id} {change}"));
        }
        if commit != commit_before {
            self.say(format_args!("S{id} commits up to {commit}"));
        }
        for effect in effects {
            self.carry_out(id, effect);
        }
    }

    fn carry_out(&mut self, id: ServerId, effect: Effect) {
        match effect {
            Effect::Call { to, call, request } => self.send_request(id, to, call, request),
            Effect::Answer { id: request_id, reply } => self.send_reply(id, request_id, reply),
            Effect::Read { id: read, index } => {
                let index = index.map_or("no index".to_owned(), |index| format!("index {index}"));
                self.say(format_args!("S{id} ends read {}: {index}", read.0));
            }
            Effect::Transfer { id: transfer, ceased } => {
                let end = if ceased { "it leads no more" } else { "it gives up" };
                self.say(format_args!("S{id} ends transfer {}: {end}", transfer.0));
            }
            Effect::Persist { write, update } => {
                let shown = show::update(&update);
                self.say(format_args!("S{id} writes w{}: {shown}", write.0));
                self.servers[id].pending.push((write, update));
                if !self.slow_disks {
                    self.persist(id, write);
                }
            }
        }
    }

    /// Puts a request on its way.
    pub(crate) fn send_request(
        &mut self,
        from: ServerId,
        to: ServerId,
        call: CallId,
        request: Request,
    ) {
        let incarnation = self.servers[from].incarnation;
        self.send(Message { number: 0, from, to, incarnation, call, request, reply: None });
    }

    fn send_reply(&mut self, from: ServerId, id: RequestId, reply: Reply) {
        if let Reply::AppendEntries(reply) = &reply {
            self.servers[from].rejections += u64::from(reply.conflict.is_some());
        }
        let call = self.servers[from].unanswered.remove(&id);
        let call = call.expect("a server answers each request at most once");
        self.send(Message { from, to: call.from, reply: Some(reply), ..call });
    }

    /// Puts a message on its way and says so.
    pub(crate) fn send(&mut self, message: Message) {
        let message = self.network.send(message);
        let Message { number, from, to, .. } = message;
        self.say(format_args!("S{from} sends m{number} to S{to}: {message}"));
    }

    /// Brings a message to its receiver, if that can be.
    pub(crate) fn deliver(&mut self, message: Message) {
        let Message { number, from, to, .. } = message;
        if let Some(why) = self.undeliverable(&message) {
            return self.say(format_args!("m{number} from S{from} to S{to} is lost: {why}"));
        }
        self.say(format_args!("S{to} gets m{number} from S{from}: {message}"));
        let input = match message.reply.clone() {
            Some(reply) => {
                Input::Reply { from, call: message.call, request: message.request, reply }
            }
            None => self.receive_request(message),
        };
        self.step(to, input);
    }

    fn receive_request(&mut self, message: Message) -> Input {
        let unanswered = &mut self.servers[message.to].unanswered;
        let id = RequestId(unanswered.last_key_value().map_or(0, |(id, _)| id.0 + 1));
        let request = message.request.clone();
        let from = message.from;
        unanswered.insert(id, message);
        Input::Request { from, id, request }
    }

    fn undeliverable(&self, message: &Message) -> Option<&'static str> {
        let receiver = &self.servers[message.to];
        if !self.network.connects(message) {
            Some("the network is cut")
        } else if receiver.node.is_none() {
            Some("the receiver is down")
        } else if message.reply.is_some() && receiver.incarnation != message.incarnation {
            Some("the caller restarted")
        } else {
            None
        }
    }

    /// Completes a server's writes up to this one.
    pub(crate) fn persist(&mut self, id: ServerId, write: WriteId) {
        let server = &mut self.servers[id];
        for (_, update) in server.pending.extract_if(.., |(pending, _)| *pending <= write) {
            server.durable.apply(update).expect("updates fit each other in the order of issue");
        }
        if self.slow_disks {
            self.say(format_args!("S{id} has w{} on its disk", write.0));
        }
        self.step(id, Input::Persisted { write });
    }

    /// Adds a line to the account.
    pub(crate) fn say(&mut self, line: fmt::Arguments<'_>) {
        writeln!(self.output, "{line}").expect("writing to a string cannot fail");
    }

    /// The account since it was last taken.
    pub(crate) fn take_output(&mut self) -> String {
        std::mem::take(&mut self.output)
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }
}

impl Server {
    fn new(jitter: u32) -> Self {
        Self {
            node: None,
            incarnation: 0,
            durable: PersistentState::default(),
            pending: Vec::new(),
            clock: Duration::ZERO,
            jitter,
            unanswered: BTreeMap::new(),
            applied: 0,
            rejections: 0,
        }
    }

    pub(crate) fn running(&self) -> &Node {
        self.node.as_ref().expect("the server is up")
    }

    fn moment(&self) -> Moment {
        Moment { now: self.clock, jitter: self.jitter }
    }
}

/// The draw that stands for a fraction of the range of time-outs, rounded up so that whole
/// milliseconds come out whole.
pub(crate) fn jitter(part: u128, whole: u128) -> u32 {
    let draw = (part << u32::BITS).div_ceil(whole);
    u32::try_from(draw).expect("the fraction is below one")
}
