//! Many clients that put without a pause, the same for every service.
//!
//! A client has one put under way at a time, on keys drawn at random. First they warm up, and then
//! what is acknowledged within a window of time counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use contract::Clerk as _;
use kvraft::KvClerk;
use labrt::channel;
use labrt::random::{self, RngExt as _};
use labrt::thread;
use labrt::time::{Duration, Instant};

use crate::interrupt;
use crate::service::Cluster;
use crate::stats::{Sorted, millis};

/// What is put: 16 bytes, and so many.
pub(crate) const VALUE_BYTES: usize = 256;

/// Nothing that takes so long will ever come.
pub(crate) const ANSWER_MAX: Duration = Duration::from_secs(60);

/// What is asked of a service.
#[derive(Clone, Copy, clap::Args)]
pub(crate) struct Load {
    /// How many keys there are
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    keys: u32,
    /// How many connections the clients share, at most
    #[arg(long, value_name = "N", default_value_t = 10)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100))]
    connections: u32,
    /// For how long the clients warm up
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = seconds)]
    warm_up: f64,
    /// For how long it counts what is acknowledged
    #[arg(long, value_name = "SECONDS", default_value_t = 4.0, value_parser = seconds)]
    window: f64,
}

fn seconds(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| format!("{text} is not a number"))?;
    match (0.1..=600.0).contains(&number) {
        true => Ok(number),
        false => Err("it must be 0.1 to 600 seconds".to_owned()),
    }
}

/// What came of it.
pub(crate) struct Measured {
    pub(crate) per_second: f64,
    /// Milliseconds until a put was acknowledged.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// What clients look at, to know whether to go on.
#[derive(Clone, Default)]
pub(crate) struct Phase(Arc<AtomicU8>);

const WINDOW: u8 = 1;
const OVER: u8 = 2;

impl Phase {
    fn now(&self) -> u8 {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, phase: u8) {
        self.0.store(phase, Ordering::Relaxed);
    }
}

/// A client's puts.
pub(crate) struct Puts {
    phase: Phase,
    keys: u32,
    /// How long those took that count, in milliseconds.
    took: Vec<f64>,
}

impl Puts {
    /// The next one's key; none when it is over.
    pub(crate) fn next_key(&self) -> Option<String> {
        let key = || format!("key-{:012}", random::rng().random_range(0..self.keys));
        (self.phase.now() != OVER).then(key)
    }

    /// It was acknowledged.
    pub(crate) fn acknowledged(&mut self, began: Instant) {
        if self.phase.now() == WINDOW {
            self.took.push(millis(began.elapsed()));
        }
    }

    pub(crate) fn into_times(self) -> Vec<f64> {
        self.took
    }
}

impl Load {
    /// How many connections so many clients share.
    pub(crate) fn connections(&self, clients: u32) -> usize {
        self.connections.min(clients) as usize
    }

    pub(crate) fn puts(&self, phase: &Phase) -> Puts {
        Puts { phase: phase.clone(), keys: self.keys, took: Vec::new() }
    }

    /// Lets the clients work, which look at the phase; the length of the window, in seconds.
    pub(crate) fn pass(&self, phase: &Phase) -> Result<f64, String> {
        let slept = interrupt::sleep(Duration::from_secs_f64(self.warm_up));
        phase.set(WINDOW);
        let began = Instant::now();
        let slept = slept.and_then(|()| interrupt::sleep(Duration::from_secs_f64(self.window)));
        phase.set(OVER);
        slept.map(|()| began.elapsed().as_secs_f64())
    }

    /// Puts it on a cluster of ours.
    pub(crate) fn put_on(&self, cluster: &Cluster, clients: u32) -> Result<Measured, String> {
        let connections: Result<Vec<_>, String> =
            (0..self.connections(clients)).map(|_| cluster.connect()).collect();
        let connections = connections?;
        let (phase, (tell, told)) = (Phase::default(), channel::unbounded());
        for number in 0..clients as usize {
            let clerk = connections[number % connections.len()].client()?;
            let (puts, tell) = (self.puts(&phase), tell.clone());
            thread::spawn(move || tell.send(put_until_over(clerk, puts)));
        }
        let seconds = self.pass(&phase)?;
        let times = (0..clients).map(|_| match told.recv_timeout(ANSWER_MAX) {
            Ok(times) => times,
            Err(_) => Err(format!("a put was not acknowledged for {ANSWER_MAX:?}")),
        });
        Measured::new(times.collect::<Result<Vec<_>, String>>()?, seconds)
    }
}

fn put_until_over(mut clerk: KvClerk, mut puts: Puts) -> Result<Vec<f64>, String> {
    let value = "v".repeat(VALUE_BYTES);
    while let Some(key) = puts.next_key() {
        let began = Instant::now();
        clerk.put(&key, &value).map_err(|error| error.to_string())?;
        puts.acknowledged(began);
    }
    Ok(puts.into_times())
}

impl Measured {
    /// From the times of each client's puts, and the length of the window.
    pub(crate) fn new(times: Vec<Vec<f64>>, seconds: f64) -> Result<Self, String> {
        let times: Vec<f64> = times.into_iter().flatten().collect();
        if times.is_empty() {
            return Err(format!("no put was acknowledged in {seconds:.1} s"));
        }
        let times = Sorted::new(times);
        let per_second = times.len() as f64 / seconds;
        Ok(Self { per_second, p50: times.percentile(50), p99: times.percentile(99) })
    }
}
