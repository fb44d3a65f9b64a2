//! Histories made by hand: for each, what the checker has to say.

use linearizability::{
    Clash, Kv, KvAction, KvInput, KvOperation, Limits, Model, Operation, Recorder, Verdict, check,
    check_model, check_with,
};

fn get(client: u64, call: u64, ret: u64, read: &str) -> KvOperation {
    Operation::returned(client, KvInput::get("x"), call, ret, Some(read.to_string()))
}

fn put(client: u64, call: u64, ret: u64, value: &str) -> KvOperation {
    Operation::returned(client, KvInput::put("x", value), call, ret, None)
}

fn append(client: u64, call: u64, ret: u64, value: &str) -> KvOperation {
    Operation::returned(client, KvInput::append("x", value), call, ret, None)
}

/// A write of unknown outcome.
fn lost(client: u64, call: u64, input: KvInput) -> KvOperation {
    Operation::unknown(client, input, call)
}

/// What both engines say, if they agree on whether it is linearizable.
fn both(history: &[KvOperation]) -> Verdict {
    let (picked, general) = (check(history), check_model(&Kv, history, &Limits::default()));
    assert_eq!(picked.is_linearizable(), general.is_linearizable(), "{picked}\n{general}");
    assert_eq!(picked.is_violation(), general.is_violation(), "{picked}\n{general}");
    picked
}

fn clash(history: &[KvOperation]) -> Clash {
    match both(history) {
        Verdict::NotLinearizable(clash) => clash,
        other => panic!("{other}"),
    }
}

#[test]
fn nothing_is_linearizable() {
    assert_eq!(both(&[]), Verdict::Linearizable);
}

#[test]
fn a_return_at_the_time_of_a_call_is_concurrent_with_it() {
    assert!(both(&[put(1, 10, 20, "a"), get(2, 20, 30, "")]).is_linearizable());
    assert!(both(&[put(1, 10, 20, "a"), get(2, 21, 30, "")]).is_violation());
    assert!(both(&[get(2, 10, 20, "a"), put(1, 20, 30, "a")]).is_linearizable());
    assert!(both(&[get(2, 10, 19, "a"), put(1, 20, 30, "a")]).is_violation());
}

#[test]
fn all_at_one_time_is_in_any_order() {
    let history = [put(1, 5, 5, "a"), append(2, 5, 5, "b"), get(3, 5, 5, "ab"), get(4, 5, 5, "")];
    assert!(both(&history).is_linearizable());
}

#[test]
fn a_stale_read_is_told_with_the_write_that_says_otherwise() {
    let history = [put(1, 10, 20, "a"), put(1, 30, 40, "b"), get(2, 50, 60, "a")];
    let clash = clash(&history);
    assert_eq!(clash.operations, [0, 1, 2]);
    let told = clash.to_string();
    assert!(told.contains(r#"client 2's get x read "a" (#2)"#), "{told}");
    assert!(told.contains(r#"client 1's put x "b" (#1)"#), "{told}");
    assert!(told.contains("returned at 40"), "{told}");
}

#[test]
fn an_append_that_got_lost_is_named() {
    let history = [append(1, 0, 1, "a"), append(2, 2, 3, "b"), get(3, 4, 5, "a")];
    assert_eq!(clash(&history).operations, [1, 2]);
}

#[test]
fn a_read_from_the_future_names_the_write() {
    let history = [put(1, 0, 1, "a"), get(2, 2, 3, "ab"), append(1, 4, 5, "b")];
    let clash = clash(&history);
    assert_eq!(clash.operations, [1, 2]);
    assert!(clash.claim.contains("called only later"), "{clash}");
}

#[test]
fn what_nobody_wrote_cannot_be_read() {
    let unwritten = clash(&[put(1, 0, 9, "abc;"), get(2, 0, 9, "abc;xyz")]);
    assert!(unwritten.claim.contains(r#"from byte 4 on, "xyz""#), "{unwritten}");
    let torn = clash(&[put(1, 0, 9, "abc;"), append(1, 0, 9, "de;"), get(2, 0, 9, "abc;d")]);
    assert!(torn.claim.contains(r#"from byte 4 on, "d""#), "{torn}");
    let put_inside = clash(&[put(1, 0, 9, "a"), put(1, 0, 9, "b"), get(2, 0, 9, "ab")]);
    assert_eq!(put_inside.operations, [1, 2]);
}

#[test]
fn an_append_takes_effect_once() {
    let twice = clash(&[append(1, 0, 9, "a"), get(2, 0, 9, "aa")]);
    assert!(twice.claim.contains("twice"), "{twice}");
    let history = [append(1, 0, 9, "a"), put(1, 0, 9, "b"), get(2, 0, 9, "a"), get(2, 0, 9, "ba")];
    let two_chains = clash(&history);
    assert_eq!(two_chains.operations, [0, 2, 3]);
}

#[test]
fn appends_have_one_order() {
    let writes = [append(1, 0, 9, "a"), append(1, 0, 9, "b")];
    let gets = [get(2, 0, 9, "ab"), get(2, 0, 9, "ba")];
    assert_eq!(clash(&[writes, gets].concat()).operations, [2, 3]);
}

#[test]
fn a_torn_value_is_found_behind_a_whole_one() {
    let history = [put(1, 0, 9, "abc;"), append(1, 0, 9, "de;"), get(2, 0, 9, "abc;de;")];
    let torn = clash(&[&history[..], &[get(3, 0, 9, "abc;d")]].concat());
    assert!(torn.claim.contains("cannot be"), "{torn}");
}

#[test]
fn an_unknown_outcome_may_take_effect_late_or_never() {
    let unknown = || lost(1, 0, KvInput::put("x", "a"));
    assert!(both(&[unknown(), get(2, 5, 6, "")]).is_linearizable());
    assert!(both(&[unknown(), get(2, 5, 6, ""), get(2, 7, 8, "a")]).is_linearizable());
    assert!(both(&[unknown(), get(2, 5, 6, "a"), get(2, 7, 8, "")]).is_violation());
    let early = [get(2, 5, 6, "a"), lost(1, 7, KvInput::put("x", "a"))];
    assert!(both(&early).is_violation());
    assert!(both(&[lost(3, 2, KvInput::get("x")), put(1, 3, 4, "a")]).is_linearizable());
}

#[test]
fn empty_values_go_to_the_general_engine() {
    let history = [put(1, 0, 1, "a"), put(1, 2, 3, ""), get(2, 4, 5, "")];
    assert!(both(&history).is_linearizable());
    let history = [put(1, 0, 1, ""), put(1, 2, 3, "a"), get(2, 4, 5, "")];
    assert!(both(&history).is_violation());
    assert!(both(&[append(1, 0, 1, ""), get(2, 2, 3, "")]).is_linearizable());
}

#[test]
fn duplicate_tokens_go_to_the_general_engine() {
    let history = [put(1, 0, 1, "a"), put(1, 2, 3, "b"), put(1, 4, 5, "a"), get(2, 6, 7, "a")];
    assert!(both(&history).is_linearizable());
    assert!(
        both(&[append(1, 0, 1, "a"), append(1, 2, 3, "a"), get(2, 4, 5, "aa")]).is_linearizable()
    );
    assert!(both(&[append(1, 0, 1, "a"), append(1, 2, 3, "a"), get(2, 4, 5, "a")]).is_violation());
}

#[test]
fn tokens_that_begin_alike_go_to_the_general_engine() {
    let history = [append(1, 0, 1, "a"), append(1, 2, 3, "aa"), get(2, 4, 5, "aaa")];
    assert!(both(&history).is_linearizable());
    let history = [append(1, 0, 1, "a"), append(1, 2, 3, "ab"), get(2, 4, 5, "ab")];
    assert!(both(&history).is_violation());
}

#[test]
fn puts_alone_may_begin_alike() {
    let mut history = vec![put(1, 0, 1, "1"), put(1, 2, 3, "10"), get(2, 4, 5, "10")];
    assert!(both(&history).is_linearizable());
    history.push(get(2, 6, 7, "1"));
    let none = Limits { steps: 0, memory_words: 0 };
    assert!(check_with(&history, &none).is_violation(), "this takes no search");
}

#[test]
fn the_general_engine_names_the_few_that_clash() {
    let mut history: Vec<_> = (0..50).map(|i| put(1, 10 * i, 10 * i + 5, "a")).collect();
    history.push(put(1, 500, 505, "b"));
    history.push(get(2, 510, 515, "a"));
    history.extend((52..80).map(|i| get(3, 10 * i, 10 * i + 5, "b")));
    let clash = clash(&history);
    // The stale get, the finished put that says otherwise, and the one whose value it shows.
    assert_eq!(clash.operations, [49, 50, 51], "{clash}");
    let says_otherwise = r#"client 1's put x "b" (#50) had returned before it was called"#;
    assert!(clash.claim.contains(says_otherwise), "{clash}");

    // The first put is the one after which nobody can have read nothing.
    history[51] = get(2, 510, 515, "");
    let clash = self::clash(&history);
    assert_eq!(clash.operations, [0, 51], "{clash}");
}

#[test]
fn what_takes_too_long_is_undecided() {
    let puts = (0..12).map(|client| put(client, 0, 9, if client % 2 == 0 { "a" } else { "b" }));
    let mut history: Vec<_> = puts.collect();
    history.push(get(99, 10, 11, "c"));
    assert!(check(&history).is_violation());
    let few_steps = Limits { steps: 10, ..Limits::default() };
    let verdict = check_with(&history, &few_steps);
    assert!(matches!(&verdict, Verdict::Undecided(why) if why.contains("10 steps")), "{verdict}");
    let little_memory = Limits { memory_words: 10, ..Limits::default() };
    let verdict = check_with(&history, &little_memory);
    assert!(matches!(&verdict, Verdict::Undecided(why) if why.contains("memory")), "{verdict}");
}

#[test]
fn a_clash_on_one_key_decides_what_another_left_open() {
    let mut history: Vec<_> = (0..12).map(|client| put(client, 0, 9, "a")).collect();
    history.push(get(99, 10, 11, "c"));
    let limits = Limits { steps: 10, ..Limits::default() };
    assert!(matches!(check_with(&history, &limits), Verdict::Undecided(_)));
    let other =
        |read: &str| Operation::returned(1, KvInput::get("y"), 0, 1, Some(read.to_string()));
    history.push(other(""));
    assert!(matches!(check_with(&history, &limits), Verdict::Undecided(_)), "y is no excuse for x");
    history.push(other("z"));
    assert!(check_with(&history, &limits).is_violation());
}

#[test]
fn times_that_cannot_be_are_undecided() {
    let verdict = check(&[put(1, 10, 9, "a")]);
    assert!(matches!(&verdict, Verdict::Undecided(why) if why.contains("before its call")));
    let verdict = check_model(&Kv, &[put(1, 10, u64::MAX, "a")], &Limits::default());
    assert!(matches!(&verdict, Verdict::Undecided(why) if why.contains("below 2^63 - 1")));
}

#[test]
fn keys_know_nothing_of_each_other() {
    let y = Operation::returned(2, KvInput::put("y", "a"), 0, 1, None);
    assert!(both(&[y.clone(), get(1, 2, 3, "")]).is_linearizable());
    assert!(both(&[y, get(1, 2, 3, "a")]).is_violation());
}

#[test]
fn a_long_value_is_told_in_short() {
    let long = "é".repeat(5_000);
    let clash = clash(&[put(1, 0, 1, "a"), get(2, 2, 3, &long)]);
    assert!(clash.to_string().len() < 1_000, "{clash}");
    assert!(clash.to_string().contains("5000 characters"), "{clash}");
}

#[test]
fn a_recorder_serves_many_threads() {
    let recorder = Recorder::new();
    let lost = recorder.call(9, KvInput::put("x", "lost"), 3);
    #[allow(clippy::disallowed_methods)]
    std::thread::scope(|scope| {
        for client in 0..4 {
            let recorder = &recorder;
            scope.spawn(move || {
                for time in 0..1_000 {
                    let id = recorder.call(client, KvInput::get("x"), time);
                    recorder.ret(id, time, Some(String::new()));
                }
            });
        }
    });
    let history = recorder.into_history();
    assert_eq!(history.len(), 4_001);
    assert!(history[lost.index()].outcome.is_none());
    assert!(check(&history).is_linearizable());
}

#[test]
#[should_panic(expected = "returns a second time")]
fn a_call_returns_once() {
    let recorder = Recorder::new();
    let id = recorder.call(1, (), 0);
    recorder.ret(id, 1, ());
    recorder.ret(id, 2, ());
}

/// A register that can compare and swap, without keys: nothing is a read, nothing merges.
struct Register;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Access {
    Read,
    Write(u8),
    Swap { from: u8, to: u8 },
}

impl Model for Register {
    type Key = ();
    type State = u8;
    type Input = Access;
    type Output = u8;

    fn key(&self, _: &Access) {}

    fn init(&self) -> u8 {
        0
    }

    /// A swap answers 1 if it took place.
    fn step(&self, state: &u8, input: &Access, output: Option<&u8>) -> Option<u8> {
        let (answer, after) = match *input {
            Access::Read => (*state, *state),
            Access::Write(value) => (0, value),
            Access::Swap { from, to } if from == *state => (1, to),
            Access::Swap { .. } => (0, *state),
        };
        output.is_none_or(|output| *output == answer).then_some(after)
    }
}

#[test]
fn another_model_is_checked() {
    use Access::{Read, Swap, Write};
    let of = |input, call, ret, output| Operation::returned(1, input, call, ret, output);
    let check = |history: &[_]| check_model(&Register, history, &Limits::default());
    let swap = |from, to| Swap { from, to };
    let one_wins = [of(swap(0, 1), 0, 9, 1), of(swap(0, 2), 0, 9, 0), of(Read, 10, 11, 1)];
    assert!(check(&one_wins).is_linearizable());
    let both_win = [of(swap(0, 1), 0, 9, 1), of(swap(0, 2), 0, 9, 1)];
    assert!(check(&both_win).is_violation());
    let lost = [Operation::unknown(2, Write(3), 0), of(swap(3, 4), 5, 6, 1), of(Read, 7, 8, 4)];
    assert!(check(&lost).is_linearizable());
    assert!(check(&lost[1..]).is_violation());
}

#[test]
fn a_hidden_value_is_one_state() {
    let hidden = Kv.merge(linearizability::KvValue::Shown("b".into()), &[&Some("ab".into())]);
    assert_eq!(hidden, linearizability::KvValue::Hidden);
    let after = Kv.step(&hidden, &KvInput { key: "x".into(), action: KvAction::Get }, None);
    assert_eq!(after, Some(hidden));
}
