//! Long histories with few different tokens, and one thing wrong.
#![allow(dead_code)]

use linearizability::{KvAction, KvInput, KvOperation, Operation};
use rand::RngExt;

use super::Random;

/// What the clients do: each calls in a closed loop, on one key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) operations: usize,
    pub(crate) clients: usize,
    /// How many different values are put and appended.
    pub(crate) values: u32,
    /// In percent: how many operations are writes, ...
    pub(crate) writes: u32,
    /// ... and how many of the writes are appends.
    pub(crate) appends: u32,
    /// Clients pause up to so many times as long as an operation takes.
    pub(crate) pause: u64,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Planted {
    /// This get was answered with what had been there a few writes before.
    Stale(usize),
    /// This write was acknowledged, and never took effect.
    Lost(usize),
}

impl Load {
    /// Between 2,000 and 20,000 operations of 10 to 50 clients. Where much is under way at a time,
    /// there have to be few writes: else any value may be the current one at any time.
    pub(crate) fn drawn(random: &mut Random) -> Self {
        let clients = random.random_range(10..=50);
        Self {
            operations: random.random_range(2_000..=20_000),
            clients,
            values: random.random_range(2..=5),
            writes: random.random_range(2..=(150 / clients as u32).max(4)),
            appends: [0, 30, 70][random.random_range(0..3)],
            pause: random.random_range(0..=3),
        }
    }
}

/// A history that one server answered, but for one operation; it need not have lost its order by
/// that.
pub(crate) fn history(random: &mut Random, load: &Load) -> (Vec<KvOperation>, Planted) {
    let mut planned = planned(random, load);
    let middle = planned.len() / 4..planned.len() * 3 / 4;
    let stale = random.random_bool(0.5);
    let fits = |op: &KvOperation| (op.input.action == KvAction::Get) == stale;
    let victim = loop {
        let victim = random.random_range(middle.clone());
        if fits(&planned[victim].1) {
            break victim;
        }
    };
    let back = random.random_range(1..=4);
    let mut values = vec![String::new()];
    for (number, (_, op)) in planned.iter_mut().enumerate() {
        let current = values.last().cloned().unwrap_or_default();
        match &op.input.action {
            KvAction::Get => {
                let back = if number == victim { back } else { 0 };
                let read = values[(values.len() - 1).saturating_sub(back)].clone();
                op.outcome.iter_mut().for_each(|o| o.output = Some(read.clone()));
            }
            _ if number == victim => {}
            KvAction::Put(new) => values.push(new.clone()),
            KvAction::Append(more) => values.push(current + more),
        }
    }
    let moment = planned[victim].0;
    let mut history: Vec<(u64, KvOperation)> = planned;
    history.sort_by_key(|(_, op)| op.call_ns);
    let at = history.iter().position(|(m, _)| *m == moment).unwrap_or_default();
    let planted = if stale { Planted::Stale(at) } else { Planted::Lost(at) };
    (history.into_iter().map(|(_, op)| op).collect(), planted)
}

/// Operations by the moments at which they take effect, all different.
fn planned(random: &mut Random, load: &Load) -> Vec<(u64, KvOperation)> {
    let mut free = vec![0_u64; load.clients];
    let mut planned = Vec::with_capacity(load.operations);
    for number in 0..load.operations {
        let client = number % load.clients;
        let call = free[client] + random.random_range(1..=1 + 10_000_000 * load.pause);
        let length = random.random_range(1_000_000..20_000_000);
        free[client] = call + length;
        let input = input(random, load);
        let op = Operation::returned(client as u64, input, call, call + length, None);
        planned.push((random.random_range(call..=call + length), op));
    }
    planned.sort_by_key(|(moment, _)| *moment);
    planned.dedup_by_key(|(moment, _)| *moment);
    planned
}

fn input(random: &mut Random, load: &Load) -> KvInput {
    let token = format!("v{}", random.random_range(0..load.values));
    if random.random_range(0..100) >= load.writes {
        KvInput::get("x")
    } else if random.random_range(0..100) < load.appends {
        KvInput::append("x", token)
    } else {
        KvInput::put("x", token)
    }
}
