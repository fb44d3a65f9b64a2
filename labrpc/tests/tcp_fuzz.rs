//! Hostile streams of bytes, at either end: each costs its own connection, with the reason in the
//! log, and nobody else notices.
//!
//! A stream is made of good frames and then damaged: bits flipped, pieces cut out, put in twice or
//! taken from another stream, lengths claimed that never come, frames sealed with a good checksum
//! and nothing good in them. What the other end has to make of it is worked out from the whole
//! stream; over the socket it comes in pieces, some of them slowly.
//!
//! `LABRPC_FUZZ_CASES=100000 cargo test -p labrpc --test tcp_fuzz` goes on for longer. A case's
//! number is all it takes to repeat it.

mod tcp_common;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use labrpc::tcp::frame::{self, Frame, HEADER_BYTES, Kind, Refusal, Request, Splitter};
use labrpc::tcp::{Client, Limits, Options};
use labrt::group::Group;
use labrt::thread::{self, JoinHandle};
use tcp_common::*;

/// Streams over sockets, for each end.
const DEFAULT_CASES: u64 = 1_500;
/// Streams without a socket, for each of those.
const SPLITS_PER_CASE: u64 = 20;

/// Longer bodies are refused.
const FRAME_BYTES: u32 = 16 * 1024 * 1024;

fn fuzz_cases() -> u64 {
    let cases = std::env::var("LABRPC_FUZZ_CASES").ok();
    cases.map_or(DEFAULT_CASES, |n| n.parse().expect("LABRPC_FUZZ_CASES is a number"))
}

/// SplitMix64: a small generator, so that a case's number is all it takes to repeat it.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }

    /// A piece of some bytes, from here to there.
    fn piece(&mut self, length: usize) -> std::ops::Range<usize> {
        let (a, b) = (self.below(length + 1), self.below(length + 1));
        a.min(b)..a.max(b)
    }
}

/// Tells which case it was, should it fail.
struct Case(u64);

impl Drop for Case {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("this was case {}", self.0);
        }
    }
}

/// A stream under construction: whole frames, until it is damaged.
struct Stream {
    frames: Vec<Vec<u8>>,
    bytes: Vec<u8>,
}

impl Stream {
    fn of(frames: Vec<Vec<u8>>) -> Self {
        let bytes = frames.concat();
        Self { frames, bytes }
    }

    /// Damages it in up to three places; one stream in eight stays as it is.
    fn damaged(mut self, random: &mut Random) -> Vec<u8> {
        if random.below(8) > 0 {
            (0..=random.below(3)).for_each(|_| self.damage(random));
        }
        self.bytes
    }

    fn damage(&mut self, random: &mut Random) {
        let length = self.bytes.len();
        let at = random.below(length + 1);
        match random.below(9) {
            0 if at < length => self.bytes[at] ^= 1 << random.below(8),
            1 => self.bytes.truncate(at),
            2 => drop(self.bytes.drain(random.piece(length))),
            // A piece again, within itself as likely as not.
            3 => {
                let again = self.bytes[random.piece(length)].to_vec();
                drop(self.bytes.splice(at..at, again));
            }
            4 => {
                let garbage = random.below(40);
                drop(self.bytes.splice(at..at, random.bytes(garbage)));
            }
            // The end of one frame behind the beginning of another.
            5 => {
                let other = &self.frames[random.below(self.frames.len())];
                let rest = random.below(other.len());
                self.bytes.truncate(at);
                self.bytes.extend_from_slice(&other[rest..]);
            }
            6 => self.bytes.extend(claim(random)),
            7 => self.bytes.extend(sealed(random)),
            // A whole frame again: nothing is wrong with that.
            _ => {
                let whole = self.frames[random.below(self.frames.len())].clone();
                self.bytes.extend(whole);
            }
        }
    }
}

/// A header whose body does not come, or only its beginning.
fn claim(random: &mut Random) -> Vec<u8> {
    let mut bytes = frame(Kind::Request, 7, &[]);
    let length = random.next() as u32 >> random.below(32);
    bytes[6..10].copy_from_slice(&length.to_le_bytes());
    let body = random.below(100);
    bytes.extend(random.bytes(body));
    bytes
}

/// Any kind with any body, under a good checksum.
fn sealed(random: &mut Random) -> Vec<u8> {
    let kind = [Kind::Request, Kind::Reply, Kind::Error, Kind::Ping, Kind::Pong][random.below(5)];
    let length = random.below(60);
    frame(kind, random.next(), &random.bytes(length))
}

/// What a client sends that behaves.
fn good_request(random: &mut Random) -> Vec<u8> {
    let call = random.next() % 100;
    match random.below(6) {
        0 => frame(Kind::Ping, 0, &[]),
        1 => request(call, "bytes", &(random.below(20_000) as u64)),
        2 => request(call, "shout", &"nobody has that"),
        3 => request(call, "echo", &"long ".repeat(random.below(5_000))),
        _ => request(call, "echo", &"short ".repeat(random.below(20))),
    }
}

fn requests(random: &mut Random) -> Vec<u8> {
    let frames = (0..=random.below(6)).map(|_| good_request(random)).collect();
    Stream::of(frames).damaged(random)
}

/// What one end has to make of a stream.
#[derive(Default)]
struct Verdict {
    /// How often each call number is answered, if nothing ends the connection before. Pings bear 0.
    answers: BTreeMap<u64, usize>,
    /// What may end it: the first of them to be noticed.
    reasons: Vec<String>,
    /// So many bytes of a frame are at the end.
    pending: usize,
}

/// What one frame means to who reads it.
enum Meaning {
    /// It is to be answered, under this number.
    Asks(u64),
    /// It is in order.
    Fine,
    /// The connection is going to end for this, and what comes behind it may be read before.
    BadBody(&'static str),
    /// The connection ends for this.
    Wrong(String),
}

fn not_yours(kind: Kind) -> Meaning {
    Meaning::Wrong(format!("a frame of kind {kind:?} is not the peer's to send"))
}

/// Servers leave bodies to whoever handles the call.
fn meaning_to_a_server(frame: &Frame<'_>) -> Meaning {
    match frame.kind {
        Kind::Request if Request::decode(frame.body).is_err() => {
            Meaning::BadBody("the body of a frame of kind Request is something else")
        }
        Kind::Request => Meaning::Asks(frame.call),
        Kind::Ping => Meaning::Asks(0),
        kind => not_yours(kind),
    }
}

fn meaning_to_a_client(frame: &Frame<'_>) -> Meaning {
    match frame.kind {
        Kind::Error if Refusal::decode(frame.body).is_err() => {
            Meaning::Wrong("the body of a frame of kind Error is something else".to_owned())
        }
        Kind::Reply | Kind::Error | Kind::Pong => Meaning::Fine,
        kind => not_yours(kind),
    }
}

impl Verdict {
    fn on(stream: &[u8], meaning: fn(&Frame<'_>) -> Meaning) -> Self {
        let (mut verdict, mut rest) = (Self::default(), stream);
        loop {
            let (frame, length) = match frame::decode(rest, FRAME_BYTES) {
                Ok(Some(found)) => found,
                Ok(None) => return Self { pending: rest.len(), ..verdict },
                Err(error) => return verdict.ending_for(error.to_string()),
            };
            rest = &rest[length..];
            match meaning(&frame) {
                Meaning::Fine => {}
                Meaning::Asks(call) => *verdict.answers.entry(call).or_default() += 1,
                Meaning::BadBody(reason) => verdict.reasons.push(reason.to_owned()),
                Meaning::Wrong(reason) => return verdict.ending_for(reason),
            }
        }
    }

    fn ending_for(mut self, reason: String) -> Self {
        self.reasons.push(reason);
        self
    }

    /// Whether the connection ends by what the stream says, whatever its sender does.
    fn is_bad(&self) -> bool {
        !self.reasons.is_empty()
    }

    /// That the connection ended as it must, by what was logged: `abruptly`, if the sender just
    /// went.
    fn check_end(&self, told: &str, abruptly: bool) {
        let mut reasons = self.reasons.clone();
        match self.pending {
            _ if self.is_bad() => {}
            0 => reasons.push("the peer closed it".to_owned()),
            bytes => reasons.push(format!("the stream ended after {bytes} bytes of a frame")),
        }
        if abruptly {
            // Perhaps not all of it arrived.
            let cut = ["the peer closed it", "the socket failed", "the stream ended after"];
            reasons.extend(cut.map(String::from));
        }
        let fits = reasons.iter().any(|reason| told.contains(reason));
        assert!(fits, "it ended with {told:?}, and not for one of {reasons:?}");
        // Who leaves in order is not worth a warning.
        let in_order = told.contains("the peer closed it") || told.contains("the socket failed");
        assert_eq!(told.starts_with("DEBUG"), in_order, "{told}");
    }
}

/// Writes a stream in pieces, some of them slowly, for as long as the other end takes it.
fn write_in_pieces(raw: &mut Raw, bytes: &[u8], random: &mut Random) {
    let most = [1 << 20, 1_000, 40, 5][random.below(4)];
    let is_slow = random.below(30) == 0;
    let mut rest = bytes;
    while !rest.is_empty() {
        let (piece, others) = rest.split_at((1 + random.below(most)).min(rest.len()));
        if raw.socket.write_all(piece).is_err() {
            return;
        }
        if is_slow && others.len() < 200 {
            thread::sleep(Duration::from_millis(1));
        }
        rest = others;
    }
}

/// One hostile client.
fn attack(world: &World, case: u64) {
    let _case = Case(case);
    let mut random = Random(case);
    let stream = requests(&mut random);
    let verdict = Verdict::on(&stream, meaning_to_a_server);
    let is_gone = random.below(4) == 0;
    let mut raw = world.raw();
    let address = raw.address();
    forget_log_of(address);
    write_in_pieces(&mut raw, &stream, &mut random);
    if !is_gone {
        check_answers(&mut raw, &verdict);
    }
    drop(raw);
    verdict.check_end(&end_of_connection(address), is_gone);
}

/// Reads what a server answers until it closes the connection: if nothing is wrong with the stream,
/// which then ends here, all that was asked.
fn check_answers(raw: &mut Raw, verdict: &Verdict) {
    let mut answers = BTreeMap::new();
    if !verdict.is_bad() {
        let count = verdict.answers.values().sum();
        (0..count).for_each(|_| note_answer(&mut answers, raw.read()));
        assert_eq!(answers, verdict.answers, "each call is answered once");
        raw.socket.shutdown(Shutdown::Write).expect("the server has no reason to close it");
    }
    while let Some(answer) = raw.read() {
        note_answer(&mut answers, Some(answer));
    }
    let is_asked = |(call, times): (&u64, &usize)| verdict.answers.get(call) >= Some(times);
    assert!(answers.iter().all(is_asked), "{answers:?} answers {:?}", verdict.answers);
}

fn note_answer(answers: &mut BTreeMap<u64, usize>, answer: Option<Got>) {
    let answer = answer.expect("a call is answered before its connection ends");
    assert!(matches!(answer.kind, Kind::Reply | Kind::Error | Kind::Pong), "{answer:?}");
    *answers.entry(answer.call).or_default() += 1;
}

/// A client that behaves, and calls until it is told to stop: none of its calls may be lost.
fn call_all_the_time(
    group: &Group,
    address: SocketAddr,
    stop: &Arc<AtomicBool>,
) -> JoinHandle<u64> {
    let stop = Arc::clone(stop);
    group.spawn("well-behaved", move || {
        let (_client, echo) = connected(address, &patient());
        let mut calls = 0;
        while !stop.load(Ordering::Acquire) {
            let text = format!("call {calls}");
            assert_eq!(echo.echo(&text), Ok(text));
            calls += 1;
        }
        calls
    })
}

/// What the process holds in memory, where the system tells.
fn resident_bytes(field: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

/// Far more than all of the streams that are under way at a time, and far less than the eight
/// hundred megabytes that those claim which stand still.
const MEMORY_BYTES: u64 = 64 * 1024 * 1024;

/// Connections that a frame has begun to arrive on, and no more comes: for as long as they live.
fn stalled(world: &World, count: u64) -> Vec<Raw> {
    let stall = |number: u64| {
        let mut raw = world.raw();
        let mut claim = frame(Kind::Request, number, &[]);
        claim[6..10].copy_from_slice(&FRAME_BYTES.to_le_bytes());
        claim.extend([7; 3]);
        raw.write(&claim[..HEADER_BYTES + (number % 4) as usize]);
        raw
    };
    (0..count).map(stall).collect()
}

#[test]
fn hostile_clients_cost_their_own_connections_and_no_call_of_another() {
    // No limit of time: what is slow here is the machine.
    let limits = Limits {
        frame_bytes: FRAME_BYTES,
        idle_time: FOR_EVER,
        frame_time: FOR_EVER,
        ..Limits::default()
    };
    let world = World::new(&limits);
    let before = resident_bytes("VmRSS");
    let (callers, stop) = (Group::new("S2", 2, 0), Arc::default());
    let address = world.server.local_addr();
    let behaved: Vec<_> = (0..2).map(|_| call_all_the_time(&callers, address, &stop)).collect();
    let stalled = stalled(&world, 50);

    let (world, next) = (Arc::new(world), Arc::new(AtomicU64::new(0)));
    let attacker = |_| {
        let (world, next) = (Arc::clone(&world), Arc::clone(&next));
        let take = move || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&n| n < fuzz_cases());
        thread::spawn(move || std::iter::from_fn(take).for_each(|case| attack(&world, case)))
    };
    let attackers: Vec<_> = (0..4).map(attacker).collect();
    attackers.into_iter().for_each(|attacker| attacker.join().expect("each stream is dealt with"));

    until("those that attacked are gone", || world.server.connections() <= 52);
    assert_eq!(world.server.connections(), 52, "the stalled and the well-behaved are there");
    drop(stalled);
    until("the stalled are gone", || world.server.connections() == 2);
    stop.store(true, Ordering::Release);
    for behaved in behaved {
        assert!(behaved.join().expect("no call is lost") > 0);
    }
    until("nobody is connected", || world.server.connections() == 0);
    if let (Some(before), Some(peak)) = (before, resident_bytes("VmHWM")) {
        assert!(peak <= before + MEMORY_BYTES, "{before} bytes became {peak}");
    }
    world.server.close();
    until("all threads end", || world.group.members().is_empty() && callers.members().is_empty());
}

/// What a server answers to a call that behaves, with more that nobody waits for.
fn good_answer(call: u64, text: &str, random: &mut Random) -> Vec<u8> {
    let reply = |text: &str| labgob::encode(text).expect("a string can be encoded");
    match random.below(6) {
        0 => frame(Kind::Pong, 0, &[]),
        1 => {
            let refusal = Refusal::UnknownMethod("echo".into()).encode();
            frame(Kind::Error, call, &refusal.expect("strings can be encoded"))
        }
        2 => frame(Kind::Reply, random.next(), &reply("nobody asked")),
        _ => frame(Kind::Reply, call, &reply(text)),
    }
}

/// One connection of a hostile server, to whoever calls there.
fn answer_badly(listener: &TcpListener, case: u64) {
    let _case = Case(case);
    let mut random = Random(case);
    let address = listener.local_addr().expect("it listens");
    let mut peer = Raw::accept(listener);
    let asked = peer.read().expect("the client calls");
    let text = echoed_text(&asked);
    let frames = (0..=random.below(4)).map(|_| good_answer(asked.call, &text, &mut random));
    let stream = Stream::of(frames.collect()).damaged(&mut random);
    let verdict = Verdict::on(&stream, meaning_to_a_client);
    write_in_pieces(&mut peer, &stream, &mut random);
    let is_gone = random.below(4) == 0;
    if !is_gone {
        if !verdict.is_bad() {
            let _ = peer.socket.shutdown(Shutdown::Write);
        }
        while let Some(Got { kind, .. }) = peer.read() {
            assert!(matches!(kind, Kind::Request | Kind::Ping), "{kind:?}");
        }
    }
    drop(peer);
    verdict.check_end(&end_of_connection(address), is_gone);
}

/// What a call of the tests' service wants back.
fn echoed_text(asked: &Got) -> String {
    let request = Request::decode(&asked.body).expect("the client sends requests");
    labgob::decode(request.args).expect("the client wants its text back")
}

/// Calls a server that may be hostile. A call may be lost, or told nonsense; but what it believes
/// to be its answer is its answer. How many were answered is counted.
fn call_whoever_is_there(
    group: &Group,
    address: SocketAddr,
    stop: &Arc<AtomicBool>,
    answered: &Arc<AtomicU64>,
) -> JoinHandle<()> {
    let (stop, answered) = (Arc::clone(stop), Arc::clone(answered));
    group.spawn("caller", move || {
        let limits = Limits { frame_bytes: FRAME_BYTES, ..Limits::default() };
        let retry_time = Duration::from_millis(10);
        let client = Client::new(address, &Options { retry_time, limits, ..patient() });
        let echo = EchoClient::new(client.end());
        for number in 0_u64.. {
            let text = format!("call {number}");
            match echo.echo(&text) {
                Ok(answer) => {
                    assert_eq!(answer, text);
                    answered.fetch_add(1, Ordering::Release);
                }
                Err(_) => thread::sleep(Duration::from_millis(1)),
            }
            if stop.load(Ordering::Acquire) {
                return;
            }
        }
    })
}

#[test]
fn a_hostile_server_costs_its_own_connection_and_a_healthy_one_is_found_again() {
    let healthy = World::new(&Limits::default());
    let listener = TcpListener::bind(any_port()).expect("a port is free");
    let address = listener.local_addr().expect("it listens");
    let (callers, stop, answered) = (Group::new("S2", 2, 0), Arc::default(), Arc::default());
    let behaved = call_all_the_time(&callers, healthy.server.local_addr(), &stop);
    let caller = call_whoever_is_there(&callers, address, &stop, &answered);
    (0..fuzz_cases() / 3).for_each(|case| answer_badly(&listener, case));

    drop(listener);
    let world = World::at(address, &Limits::default());
    let before = answered.load(Ordering::Acquire);
    until("calls are answered again", || answered.load(Ordering::Acquire) > before + 10);
    stop.store(true, Ordering::Release);
    assert!(behaved.join().expect("no call to the healthy server is lost") > 0);
    caller.join().expect("no call believes a wrong answer");
    until("nobody is connected", || world.server.connections() == 0);
    until("all threads end", || callers.members().is_empty());
}

/// The frames that a splitter cuts a stream into, which comes in pieces; and why it stopped.
fn split(stream: &[u8], random: &mut Random) -> (Vec<Got>, Option<String>) {
    let (mut splitter, mut frames, mut rest) = (Splitter::new(FRAME_BYTES), Vec::new(), stream);
    while !rest.is_empty() {
        let room = splitter.room();
        let length = (1 + random.below(3_000)).min(room.len()).min(rest.len());
        let (piece, others) = rest.split_at(length);
        room[..length].copy_from_slice(piece);
        splitter.filled(length);
        rest = others;
        loop {
            match splitter.next_frame() {
                Ok(Some(Frame { kind, call, body })) => {
                    frames.push(Got { kind, call, body: body.to_vec() });
                }
                Ok(None) => break,
                Err(error) => return (frames, Some(error.to_string())),
            }
        }
    }
    (frames, splitter.finish().err().map(|error| error.to_string()))
}

/// Damages a stream in one place. No frame is sealed again.
fn damage_once(bytes: &mut Vec<u8>, random: &mut Random) {
    let (at, piece) = (random.below(bytes.len()), random.piece(bytes.len()));
    match random.below(3) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => drop(bytes.drain(piece)),
        _ => {
            let again = bytes[piece].to_vec();
            drop(bytes.splice(at..at, again));
        }
    }
}

#[test]
fn a_damaged_stream_gives_only_frames_that_were_sent_however_it_is_cut() {
    let (mut whole, mut refused) = (0, 0);
    for case in 0..fuzz_cases() * SPLITS_PER_CASE {
        let _case = Case(case);
        let mut random = Random(case);
        let sent: Vec<_> = (0..=random.below(6)).map(|_| good_request(&mut random)).collect();
        let mut stream = sent.concat();
        damage_once(&mut stream, &mut random);
        let (frames, error) = split(&stream, &mut random);
        for Got { kind, call, body } in &frames {
            let was_sent = sent.contains(&frame(*kind, *call, body));
            assert!(was_sent, "{kind:?} {call} with {} bytes was never sent", body.len());
        }
        assert_eq!((frames, error.clone()), split(&stream, &mut random), "cut otherwise");
        *if error.is_none() { &mut whole } else { &mut refused } += 1;
    }
    assert!(whole > 0 && refused > 0, "{whole} streams were whole, and {refused} were refused");
}
