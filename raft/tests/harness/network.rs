//! Messages in flight. They stay there until the script delivers or drops them.

use std::collections::BTreeSet;

use raft::core::{CallId, Reply, Request, ServerId};

/// A message in flight.
#[derive(Clone)]
pub(crate) struct Message {
    /// How the script names it: `m` and this number.
    pub(crate) number: u64,
    pub(crate) from: ServerId,
    pub(crate) to: ServerId,
    /// The caller's incarnation: whoever restarted does not wait for answers any more.
    pub(crate) incarnation: u64,
    pub(crate) call: CallId,
    pub(crate) request: Request,
    /// None as long as it is the request itself that travels.
    pub(crate) reply: Option<Reply>,
}

/// Which messages a command is about: those that fit all that is given.
#[derive(Default)]
pub(crate) struct Filter {
    pub(crate) numbers: BTreeSet<u64>,
    pub(crate) from: Option<ServerId>,
    pub(crate) to: Option<ServerId>,
}

impl Filter {
    fn fits(&self, message: &Message) -> bool {
        (self.numbers.is_empty() || self.numbers.contains(&message.number))
            && self.from.is_none_or(|from| from == message.from)
            && self.to.is_none_or(|to| to == message.to)
    }
}

/// The messages in flight, and who is cut off from whom.
#[derive(Default)]
pub(crate) struct Network {
    pub(crate) in_flight: Vec<Message>,
    sent: u64,
    /// The servers on one side of the cut.
    pub(crate) side: BTreeSet<ServerId>,
}

impl Network {
    /// Puts a message on its way, under a new number.
    pub(crate) fn send(&mut self, mut message: Message) -> Message {
        self.sent += 1;
        message.number = self.sent;
        self.in_flight.push(message.clone());
        message
    }

    /// Takes messages off the network, in the order in which they were sent.
    pub(crate) fn take(&mut self, filter: &Filter) -> Vec<Message> {
        self.in_flight.extract_if(.., |message| filter.fits(message)).collect()
    }

    /// Leaves the messages in flight, and returns copies.
    pub(crate) fn copies(&self, filter: &Filter) -> Vec<Message> {
        self.in_flight.iter().filter(|message| filter.fits(message)).cloned().collect()
    }

    /// Whether messages get through between the two.
    pub(crate) fn connects(&self, message: &Message) -> bool {
        self.side.contains(&message.from) == self.side.contains(&message.to)
    }
}
