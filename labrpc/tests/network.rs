//! What the network promises, fault by fault, with the labs' numbers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use labrpc::{ClientEnd, Counts, Faults, Network, RpcError, Stage, service};
use labrt::group::Group;
use labrt::pool::Pool;
use labrt::sync::Shared;
use labrt::time::Instant;
use labrt::{channel, logger, sim, thread};

service! {
    /// What the tests call.
    pub trait Echo, client EchoClient {
        /// Gives the text back, and counts.
        fn echo(args: String) -> String;
        /// Answers after so many milliseconds.
        fn slow(args: u64) -> u64;
    }
}

service! {
    /// As `Echo`, with arguments of other types.
    pub trait Other, client OtherClient {
        /// Declared elsewhere with a string.
        fn echo(args: u64) -> u64;
    }
}

#[derive(Default)]
struct Server {
    calls: AtomicU64,
}

impl Echo for Server {
    fn echo(&self, text: String) -> String {
        self.calls.fetch_add(1, Ordering::Relaxed);
        text
    }

    fn slow(&self, milliseconds: u64) -> u64 {
        thread::sleep(Duration::from_millis(milliseconds));
        self.calls.fetch_add(1, Ordering::Relaxed);
        milliseconds
    }
}

/// A network of three, with a server at node 1.
struct World {
    network: Network,
    group: Group,
    server: Arc<Server>,
    echo: EchoClient,
}

fn world() -> World {
    let network = Network::new(3);
    let (group, server) = (Group::new("S1", 1, 0), Arc::new(Server::default()));
    network.serve(1, &group, vec![EchoClient::service(Arc::clone(&server))]);
    let echo = EchoClient::new(network.client_end(0, 1));
    World { network, group, server, echo }
}

/// Runs `body` in virtual time, and gives what it returns.
fn in_sim<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    sim::run(&sim::Config::new(7), body).result.unwrap_or_else(|failure| panic!("{failure}"))
}

fn timed<T>(call: impl FnOnce() -> T) -> (T, Duration) {
    let started = Instant::now();
    let result = call();
    (result, started.elapsed())
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

#[test]
fn a_reliable_call_returns_the_reply_in_every_world() {
    labrt::check(|| {
        let world = world();
        for number in 0..100 {
            let text = format!("call {number}");
            assert_eq!(world.echo.echo(&text), Ok(text));
        }
        world.group.crash();
    });
    let world = world();
    assert_eq!(world.echo.echo(&"on OS threads".into()), Ok("on OS threads".into()));
    world.group.crash();
}

#[test]
fn calls_that_are_started_are_under_way_together() {
    in_sim(|| {
        let world = world();
        let end = world.network.client_end(0, 1);
        let (replies, took) = timed(|| {
            let start = |number: u64| end.start::<u64, u64>("Echo", "slow", &(100 + number));
            let calls: Vec<_> = (0..10).map(start).collect();
            calls.into_iter().map(labrpc::Pending::wait).collect::<Vec<_>>()
        });
        assert_eq!(replies, (100..110).map(Ok).collect::<Vec<_>>());
        assert!(took < ms(500), "one after the other they would take a second: {took:?}");
        world.group.crash();
        assert_eq!(end.start::<u64, u64>("Echo", "slow", &1).wait(), Err(RpcError::Lost));
    });
}

#[test]
fn a_call_can_be_waited_for_again_and_again() {
    in_sim(|| {
        let world = world();
        let end = world.network.client_end(0, 1);
        let mut call = end.start::<u64, u64>("Echo", "slow", &100);
        let (replies, took) = timed(|| [(); 4].map(|()| call.wait_for(ms(20))));
        assert_eq!(replies, [(); 4].map(|()| None));
        assert!(took >= ms(80), "each waited its time: {took:?}");
        assert_eq!(call.wait_for(ms(10_000)), Some(Ok(100)));
        world.group.crash();
        let mut call = end.start::<u64, u64>("Echo", "slow", &100);
        assert_eq!(call.wait_for(ms(10_000)), Some(Err(RpcError::Lost)));
    });
}

#[test]
fn a_reliable_call_takes_between_0_4_and_2_ms_in_virtual_time() {
    in_sim(|| {
        let world = world();
        for _ in 0..200 {
            let (reply, took) = timed(|| world.echo.echo(&String::new()));
            assert_eq!(reply, Ok(String::new()));
            // Both directions together; stalls of a few ms come on top now and then.
            assert!(took >= Duration::from_micros(400) && took < ms(60), "it took {took:?}");
        }
    });
}

#[test]
fn a_dead_server_a_cut_link_and_a_missing_server_look_the_same() {
    in_sim(|| {
        let world = world();
        let missing = EchoClient::new(world.network.client_end(0, 2));
        assert_eq!(missing.echo(&String::new()), Err(RpcError::Lost));
        world.network.set_connected(1, false);
        assert_eq!(world.echo.echo(&String::new()), Err(RpcError::Lost));
        world.network.set_connected(1, true);
        assert_eq!(world.echo.echo(&String::new()), Ok(String::new()));
        world.group.crash();
        assert_eq!(world.echo.echo(&String::new()), Err(RpcError::Lost));
        assert_eq!(world.server.calls.load(Ordering::Relaxed), 1, "only one call went through");
    });
}

#[test]
fn an_unreachable_server_is_noticed_within_100_ms_or_with_long_delays_within_7_s() {
    let longest = |faults: fn() -> Faults| {
        in_sim(move || {
            let world = world();
            world.network.set_all_faults(&faults());
            world.group.crash();
            let call = |_| timed(|| world.echo.echo(&String::new())).1;
            (0..100).map(call).max().expect("some calls")
        })
    };
    let normal = longest(Faults::reliable);
    assert!((ms(80)..ms(150)).contains(&normal), "the longest took {normal:?}");
    let long = longest(|| Faults::reliable().with_long_delays());
    assert!((ms(6_000)..ms(7_100)).contains(&long), "the longest took {long:?}");
}

#[test]
fn an_unreliable_network_lets_81_calls_of_100_succeed() {
    let (succeeded, handled) = in_sim(|| {
        let world = world();
        world.network.set_all_faults(&Faults::unreliable());
        let call = |_: &u64| world.echo.echo(&String::new()).is_ok();
        let succeeded = (0..4_000).filter(call).count();
        (succeeded, world.server.calls.load(Ordering::Relaxed))
    });
    assert!((3_120..3_360).contains(&succeeded), "{succeeded} of 4,000 succeeded");
    assert!((3_520..3_680).contains(&handled), "{handled} of 4,000 were handled");
}

#[test]
fn long_reordering_holds_two_replies_of_three_back() {
    let late = in_sim(|| {
        let world = world();
        world.network.set_all_faults(&Faults::reliable().with_long_reordering());
        let late = |_: &u64| timed(|| world.echo.echo(&String::new())).1 >= ms(200);
        (0..3_000).filter(late).count()
    });
    assert!((1_900..2_100).contains(&late), "{late} of 3,000 were held back");
}

#[test]
fn a_duplicated_request_is_handled_twice_and_answered_once() {
    in_sim(|| {
        let world = world();
        let faults = Faults { duplicate_ppm: 1_000_000, ..Faults::reliable() };
        world.network.set_all_faults(&faults);
        for _ in 0..10 {
            assert_eq!(world.echo.echo(&"once".into()), Ok("once".into()));
        }
        thread::sleep(ms(100));
        assert_eq!(world.server.calls.load(Ordering::Relaxed), 20);
    });
}

#[test]
fn a_link_can_be_cut_in_one_direction() {
    in_sim(|| {
        let world = world();
        // The request goes through, its reply does not: the handler ran.
        world.network.set_cut(1, 0, true);
        assert_eq!(world.echo.echo(&String::new()), Err(RpcError::Lost));
        assert_eq!(world.server.calls.load(Ordering::Relaxed), 1);
        world.network.set_cut(1, 0, false);
        world.network.set_cut(0, 1, true);
        assert_eq!(world.echo.echo(&String::new()), Err(RpcError::Lost));
        assert_eq!(world.server.calls.load(Ordering::Relaxed), 1, "no request came through");
        let elsewhere = EchoClient::new(world.network.client_end(2, 1));
        assert_eq!(elsewhere.echo(&String::new()), Ok(String::new()));
    });
}

#[test]
fn a_server_cut_off_or_replaced_while_its_handler_runs_answers_nobody() {
    in_sim(|| {
        let world = world();
        let echo = world.echo.clone();
        let caller = thread::spawn(move || echo.slow(&100));
        thread::sleep(ms(50));
        world.network.set_connected(1, false);
        assert_eq!(caller.join().expect("no panic"), Err(RpcError::Lost));
        world.network.set_connected(1, true);

        let echo = world.echo.clone();
        let caller = thread::spawn(move || echo.slow(&100));
        thread::sleep(ms(50));
        let (group, server) = (Group::new("S1.2", 1, 1), Arc::new(Server::default()));
        world.network.serve(1, &group, vec![EchoClient::service(server)]);
        assert_eq!(caller.join().expect("no panic"), Err(RpcError::Lost));
        assert_eq!(world.server.calls.load(Ordering::Relaxed), 2, "both handlers ran");
    });
}

#[test]
fn an_answer_that_left_before_the_crash_arrives_unless_the_link_is_cut() {
    for cut in [false, true] {
        in_sim(move || {
            let world = world();
            let faults = Faults { reply_delay: ms(50)..ms(51), ..Faults::reliable() };
            world.network.set_all_faults(&faults);
            let echo = world.echo.clone();
            let caller = thread::spawn(move || echo.echo(&"said".into()));
            thread::sleep(ms(30));
            assert_eq!(world.server.calls.load(Ordering::Relaxed), 1, "it is on its way");
            world.group.crash();
            world.network.set_connected(1, !cut);
            let expected = if cut { Err(RpcError::Lost) } else { Ok("said".into()) };
            assert_eq!(caller.join().expect("no panic"), expected);
        });
    }
}

/// Without a delay the server's thread would bring its answer itself, and it ends right there.
#[test]
fn a_reply_arrives_though_its_server_crashes_as_it_leaves() {
    let world_that_crashes = || {
        let World { network, group, echo, .. } = world();
        network.set_all_faults(&Faults { reply_delay: ms(0)..ms(0), ..Faults::reliable() });
        network.set_hook(move |message| {
            if message.stage == Stage::Answered {
                group.crash();
            }
        });
        (network, echo)
    };
    let told = move || {
        let (network, _) = world_that_crashes();
        let (pool, (tx, rx)) = (Pool::in_current_group("caller"), channel::bounded(1));
        let then = move |_: String, reply: Result<String, RpcError>| drop(tx.send(reply));
        network.client_end(0, 1).call_then("Echo", "echo", "text".to_string(), &pool, then);
        rx.recv_timeout(Duration::from_secs(60)).expect("it is brought")
    };
    let waited_for = move || {
        let (_network, echo) = world_that_crashes();
        echo.echo(&"text".to_string())
    };
    for reply in [in_sim(told), told(), in_sim(waited_for), waited_for()] {
        assert_eq!(reply, Ok("text".to_string()));
    }
}

/// Without a delay the sender's thread would bring its request itself, and it ends right there.
#[test]
fn a_request_arrives_though_its_sender_crashes_as_it_leaves() {
    let calls = || {
        let World { network, echo, server, .. } = world();
        network.set_all_faults(&Faults { request_delay: ms(0)..ms(0), ..Faults::reliable() });
        let sender = Group::new("S0", 0, 0);
        let victim = sender.clone();
        network.set_hook(move |message| {
            if message.stage == Stage::Sent {
                victim.crash();
            }
        });
        let _ = sender.spawn("caller", move || echo.echo(&String::new())).join();
        for _ in 0..60_000 {
            if server.calls.load(Ordering::Relaxed) > 0 {
                break;
            }
            thread::sleep(ms(1));
        }
        server.calls.load(Ordering::Relaxed)
    };
    assert_eq!([in_sim(calls), calls()], [1, 1]);
}

#[test]
fn a_request_arrives_though_its_sender_has_crashed() {
    in_sim(|| {
        let world = world();
        let faults = Faults { request_delay: ms(50)..ms(51), ..Faults::reliable() };
        world.network.set_all_faults(&faults);
        let (sender, echo) = (Group::new("S0", 0, 0), world.echo.clone());
        sender.spawn("caller", move || echo.echo(&String::new()));
        thread::sleep(ms(10));
        sender.crash();
        thread::sleep(ms(100));
        assert_eq!(world.server.calls.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn destructors_of_a_crashed_server_send_nothing() {
    struct Farewell(ClientEnd);
    impl Drop for Farewell {
        fn drop(&mut self) {
            assert_eq!(self.0.call("Echo", "echo", ""), Err::<String, _>(RpcError::Lost));
            let (pool, then) =
                (Pool::in_current_group("farewell"), |_, _: Result<String, RpcError>| ());
            self.0.call_then("Echo", "echo", "", &pool, then);
            drop(self.0.start::<_, String>("Echo", "echo", &String::new()));
        }
    }
    let body = || {
        let World { network, server, .. } = world();
        let (sender, end) = (Group::new("S0", 0, 0), network.client_end(0, 1));
        let (begun_tx, begun) = channel::bounded(0);
        let caller = sender.spawn("caller", move || {
            let _farewell = Farewell(end);
            begun_tx.send(()).expect("the test waits");
            thread::sleep(Duration::from_secs(1000));
        });
        begun.recv().expect("it begins");
        sender.crash();
        assert!(caller.join().is_err());
        thread::sleep(ms(100));
        (network.counts().rpcs, server.calls.load(Ordering::Relaxed))
    };
    assert_eq!([in_sim(body), body()], [(0, 0), (0, 0)]);
}

#[test]
fn mistakes_are_typed_errors_and_no_lost_calls() {
    in_sim(|| {
        let world = world();
        let end: ClientEnd = world.network.client_end(0, 1);
        let unknown = OtherClient::new(end.clone()).echo(&1);
        assert_eq!(unknown, Err(RpcError::UnknownService("Other".into())));
        let method: Result<u64, RpcError> = end.call("Echo", "shout", &1u64);
        assert_eq!(method, Err(RpcError::UnknownMethod("shout".into())));
        // A length that the arguments do not have.
        let bad: Result<String, RpcError> = end.call("Echo", "echo", &200u64);
        assert!(matches!(&bad, Err(RpcError::BadArguments(_))), "{bad:?}");
        let reply: Result<(String, u64), RpcError> = end.call("Echo", "echo", "short");
        assert!(matches!(&reply, Err(RpcError::BadReply(_))), "{reply:?}");
    });
}

#[test]
fn mistakes_are_logged_with_who_made_them() {
    logger::init();
    logger::set_recording(true);
    let outcome = sim::run(&sim::Config { record: true, ..sim::Config::new(1) }, || {
        let world = world();
        let end = world.network.client_end(0, 1);
        assert!(OtherClient::new(end.clone()).echo(&1).is_err());
        assert!(end.call::<_, u64>("Echo", "shout", &1u64).is_err());
        assert!(end.call::<_, String>("Echo", "echo", &200u64).is_err());
    });
    let lines: Vec<_> = outcome.events.iter().map(|event| event.text.as_str()).collect();
    for beginning in ["Other.echo from 0: ", "Echo.shout from 0: ", "Echo.echo from 0: "] {
        let is_told = lines.iter().any(|line| line.starts_with(beginning));
        assert!(is_told, "{beginning} is missing in {lines:#?}");
    }
}

#[test]
fn rpcs_are_counted_when_sent_and_replies_when_they_arrive() {
    in_sim(|| {
        let world = world();
        let text = "x".repeat(100);
        let bytes = labgob::encoded_size(&text).expect("a string is encodable") as u64;
        assert_eq!(world.echo.echo(&text), Ok(text.clone()));
        let counts = Counts { rpcs: 1, bytes: 2 * bytes };
        assert_eq!((world.network.counts(), world.network.counts_at(1)), (counts, counts));
        assert_eq!(world.network.counts_at(0), Counts::default());
        world.network.set_cut(1, 0, true);
        let _ = world.echo.echo(&text);
        assert_eq!(world.network.counts(), Counts { rpcs: 2, bytes: 3 * bytes });
    });
}

#[test]
fn a_hook_sees_each_stage_of_a_call_in_order() {
    in_sim(|| {
        let world = world();
        let stages: Arc<Shared<Vec<Stage>>> = Arc::default();
        let seen = Arc::clone(&stages);
        world.network.set_hook(move |message| {
            assert_eq!((message.from, message.to, message.method), (0, 1, "echo"));
            seen.with(|stages| stages.push(message.stage));
        });
        assert_eq!(world.echo.echo(&String::new()), Ok(String::new()));
        let expected = [Stage::Sent, Stage::Delivered, Stage::Answered, Stage::Replied];
        assert_eq!(stages.with(|stages| stages.clone()), expected);
    });
}

/// The delays of the first requests on link 0 -> 1, by the order of calls.
fn request_delays(faults: impl FnOnce() -> Faults + Send + 'static) -> BTreeMap<u64, Duration> {
    in_sim(move || {
        let world = world();
        world.network.set_all_faults(&faults());
        let arrivals: Arc<Shared<BTreeMap<u64, Duration>>> = Arc::default();
        let seen = Arc::clone(&arrivals);
        let started: Shared<BTreeMap<u64, Duration>> = Shared::default();
        world.network.set_hook(move |message| {
            let now = labrt::time::world_time();
            if message.stage == Stage::Sent {
                started.with(|started| started.insert(message.call, now));
            } else if message.stage == Stage::Delivered {
                let sent = started.with(|started| started.remove(&message.call));
                let took = sent.map(|sent| now - sent);
                seen.with(|arrivals| took.map(|took| arrivals.insert(message.call, took)));
            }
        });
        for _ in 0..50 {
            let _ = world.echo.echo(&String::new());
        }
        arrivals.with(std::mem::take)
    })
}

/// How many copies of each call's request came.
fn copies(faults: impl Fn() -> Faults + Send + 'static) -> BTreeMap<u64, u32> {
    in_sim(move || {
        let world = world();
        world.network.set_all_faults(&faults());
        let copies = Arc::new(Shared::new(BTreeMap::new()));
        let seen = Arc::clone(&copies);
        world.network.set_hook(move |message| {
            if message.stage == Stage::Delivered {
                seen.with(|copies| *copies.entry(message.call).or_default() += 1);
            }
        });
        for _ in 0..200 {
            let _ = world.echo.echo(&String::new());
        }
        thread::sleep(ms(1000));
        copies.with(std::mem::take)
    })
}

#[test]
fn taking_losses_out_copies_the_same_requests() {
    let faults = || Faults { duplicate_ppm: 300_000, ..Faults::unreliable() };
    let with_losses = copies(faults);
    let without = copies(move || Faults { request_loss_ppm: 0, ..faults() });
    assert!(with_losses.len() < without.len(), "some requests were lost");
    assert!(with_losses.values().any(|&copies| copies == 2), "some were copied");
    let same = with_losses.iter().all(|(call, copies)| without[call] == *copies);
    assert!(same, "{with_losses:?}\n{without:?}");
}

#[test]
fn taking_one_fault_out_does_not_shift_the_others() {
    let with_losses = request_delays(Faults::unreliable);
    let without = request_delays(|| Faults { request_loss_ppm: 0, ..Faults::unreliable() });
    assert!(with_losses.len() < without.len(), "some requests were lost");
    for (call, delay) in with_losses {
        let difference = without[&call].abs_diff(delay);
        // A stall between timer and handler may differ; the draw is the same.
        assert!(
            difference < ms(20),
            "call {call} took {delay:?}, and {:?} without",
            without[&call]
        );
    }
}
