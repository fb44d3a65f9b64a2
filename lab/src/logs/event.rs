//! One thing that happened, as it stands in `events.jsonl`, in `log.txt`, or in a line of a live
//! log.
//!
//! ```text
//! {"time_ns":312416300,"server":1,"topic":"rpc","kind":{"arrived":{"from":0}},"text":"vote"}
//!    0.312416300 S1    rpc       vote from S0
//!    0.312416300 S1    candidate 3       election  2 of 3 votes
//! ```

use std::borrow::Cow;

use serde::Deserialize;

use super::topic::Topic;

/// Whose column it stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Who {
    /// The test, and its clients.
    Test,
    Server(usize),
}

impl std::fmt::Display for Who {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Test => f.write_str("test"),
            Self::Server(server) => write!(f, "S{server}"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Note,
    /// A message arrived.
    Arrived {
        from: usize,
    },
    /// A message was lost on its way here.
    Lost {
        from: usize,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) time_ns: u64,
    pub(crate) who: Who,
    pub(crate) topic: Topic,
    pub(crate) kind: Kind,
    pub(crate) text: String,
}

/// As `labrt::trace` writes it.
#[derive(Deserialize)]
struct Recorded<'a> {
    time_ns: u64,
    server: Option<usize>,
    #[serde(borrow)]
    topic: Cow<'a, str>,
    kind: Kind,
    #[serde(borrow)]
    text: Cow<'a, str>,
}

/// Digits of a log line's seconds behind the point.
const DIGITS: usize = 9;
/// Characters that a log line has for the server, the role and the topic.
const NAME_WIDTH: usize = 5;
const ROLE_WIDTH: usize = 17;
const TOPIC_WIDTH: usize = 9;

impl Event {
    /// Reads a line of `events.jsonl`.
    ///
    /// # Errors
    /// If it is none.
    pub(crate) fn of_json(line: &str) -> serde_json::Result<Self> {
        let Recorded { time_ns, server, topic, kind, text } = serde_json::from_str(line)?;
        let who = server.map_or(Who::Test, Who::Server);
        let topic = Topic::of_name(&topic).unwrap_or(Topic::Log);
        Ok(Self { time_ns, who, topic, kind, text: text.into_owned() })
    }

    /// Reads a line of a log, with the role that a live one tells; none if it is another kind of
    /// line.
    pub(crate) fn of_log_line(line: &str) -> Option<(Self, &str)> {
        let (time, rest) = line.trim_start().split_once(' ')?;
        let (time_ns, (name, rest)) = (nanoseconds(time)?, field(rest, NAME_WIDTH));
        let who = who(name)?;
        let (role, topic, kind, text) = live(rest).unwrap_or_else(|| traced(rest));
        let text = text.to_string();
        Some((Self { time_ns, who, topic, kind, text }, role))
    }

    /// In words; a message begins with its sender, and an arrow that may not reach.
    pub(crate) fn words(&self) -> Cow<'_, str> {
        match self.kind {
            Kind::Note => Cow::Borrowed(&self.text),
            Kind::Arrived { from } => Cow::Owned(format!("S{from}-> {}", self.text)),
            Kind::Lost { from } => Cow::Owned(format!("S{from}-x {}", self.text)),
        }
    }
}

/// `0.312416300` as a number of nanoseconds.
fn nanoseconds(text: &str) -> Option<u64> {
    let (seconds, fraction) = text.split_once('.')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(seconds) || !digits(fraction) || fraction.len() != DIGITS {
        return None;
    }
    let seconds: u64 = seconds.parse().ok()?;
    seconds.checked_mul(1_000_000_000)?.checked_add(fraction.parse().ok()?)
}

/// The first word of a line, which is padded to `width`, and what comes behind it and a space.
fn field(line: &str, width: usize) -> (&str, &str) {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    let padding = width.saturating_sub(word.chars().count());
    let spaces = rest.len() - rest.trim_start_matches(' ').len();
    (word, &rest[spaces.min(padding)..])
}

/// A column's name: `S1`, or `test`.
pub(super) fn who(name: &str) -> Option<Who> {
    match name.strip_prefix('S') {
        Some(number) => number.parse().ok().map(Who::Server),
        None => (name == "test").then_some(Who::Test),
    }
}

type Rest<'a> = (&'a str, Topic, Kind, &'a str);

/// What stands behind the server's name as the logger prints it: role, topic, text. A trace's line
/// begins with the topic instead, which is no role's name.
fn live(rest: &str) -> Option<Rest<'_>> {
    if Topic::of_name(field(rest, TOPIC_WIDTH).0).is_some() {
        return None;
    }
    let (role, rest) = match rest.split_at_checked(ROLE_WIDTH) {
        Some((role, rest)) if rest.starts_with(' ') => (role.trim(), &rest[1..]),
        // A role longer than its room moves the rest along: it is two words.
        _ => {
            let (space, _) = rest.match_indices(' ').nth(1)?;
            (&rest[..space], &rest[space + 1..])
        }
    };
    let (topic, text) = field(rest, TOPIC_WIDTH);
    Some((role, Topic::of_name(topic)?, Kind::Note, text))
}

/// What stands behind the server's name in `log.txt`: topic and text.
fn traced(rest: &str) -> Rest<'_> {
    let (topic, text) = field(rest, TOPIC_WIDTH);
    let topic = Topic::of_name(topic).unwrap_or(Topic::Log);
    let (kind, text) = match topic {
        Topic::Rpc => message(text).unwrap_or((Kind::Note, text)),
        _ => (Kind::Note, text),
    };
    ("", topic, kind, text)
}

/// A message's line, as `labrt::trace::Event::log_line` words it.
fn message(text: &str) -> Option<(Kind, &str)> {
    let (text, lost) = text.strip_suffix(" is lost").map_or((text, false), |text| (text, true));
    let (text, from) = text.rsplit_once(" from S")?;
    let from = from.parse().ok()?;
    Some((if lost { Kind::Lost { from } } else { Kind::Arrived { from } }, text))
}

#[cfg(test)]
mod tests {
    use labrt::trace;

    use super::*;

    const KINDS: [trace::EventKind; 3] = [
        trace::EventKind::Note,
        trace::EventKind::Arrived { from: 2 },
        trace::EventKind::Lost { from: 2 },
    ];

    fn recorded(kind: trace::EventKind) -> trace::Event {
        let text = "re append_entries from S7".to_string();
        trace::Event { time_ns: 14_207_000_001, server: Some(1), topic: "rpc", kind, text }
    }

    #[test]
    fn both_files_of_a_trace_say_the_same() {
        for kind in KINDS {
            let mut event = recorded(kind);
            if kind == trace::EventKind::Note {
                event.topic = "election";
            }
            let json = serde_json::to_string(&event).expect("an event has a form in JSON");
            let read = Event::of_json(&json).expect("it is an event");
            assert_eq!(Event::of_log_line(&event.log_line()), Some((read.clone(), "")), "{json}");
            assert_eq!((read.time_ns, read.who), (14_207_000_001, Who::Server(1)));
        }
    }

    #[test]
    fn messages_begin_with_their_sender() {
        let words = KINDS.map(|kind| {
            let json = serde_json::to_string(&recorded(kind)).expect("an event has a form in JSON");
            Event::of_json(&json).expect("it is an event").words().into_owned()
        });
        let text = "re append_entries from S7";
        assert_eq!(words, [text.to_string(), format!("S2-> {text}"), format!("S2-x {text}")]);
    }

    fn read(line: &str) -> (u64, Who, Topic, &str, String) {
        let (event, role) = Event::of_log_line(line).expect("it is a log line");
        (event.time_ns, event.who, event.topic, role, event.text)
    }

    #[test]
    fn a_live_line_tells_time_server_role_topic_and_text() {
        assert_eq!(
            read("   0.312416300 S1    candidate 3       election  2 of 3 votes"),
            (312_416_300, Who::Server(1), Topic::Election, "candidate 3", "2 of 3 votes".into())
        );
        assert_eq!(
            read("   0.000000000 S12                     rpc         indented"),
            (0, Who::Server(12), Topic::Rpc, "", "  indented".into())
        );
        assert_eq!(
            read("1234567.000000001 test                    log       "),
            (1_234_567_000_000_001, Who::Test, Topic::Log, "", String::new())
        );
        assert_eq!(
            read("   0.312416300 S1    pre-candidate 1234567 election  on its way"),
            (
                312_416_300,
                Who::Server(1),
                Topic::Election,
                "pre-candidate 1234567",
                "on its way".into()
            )
        );
    }

    #[test]
    fn a_topic_of_the_codes_own_counts_as_a_log_line() {
        let line = "   0.312416300 S1    mine      said";
        assert_eq!(read(line), (312_416_300, Who::Server(1), Topic::Log, "", "said".into()));
    }

    #[test]
    fn other_lines_are_none() {
        let others = [
            "",
            "   Compiling raft v0.1.0",
            "test initial_election_2A ... ok",
            "FAIL 2A initial_election · sim · seed 40826 · 14.207 s · two leaders",
            "    0.313 s  o--vote 1---------->|                   |",
            "0.312416300",
            "0.312416300 T1    rpc       text",
            "0.312416300 Sü    rpc       text",
            "0.31241630x S1    rpc       text",
            "99999999999999999999.000000000 S1    rpc       text",
        ];
        for line in others {
            assert_eq!(Event::of_log_line(line), None, "{line}");
        }
    }

    #[test]
    fn a_line_of_wide_characters_is_cut_between_them() {
        let (event, _) = Event::of_log_line("0.312416300 S1    äöüäöüäöüäöüäöüäöü 測試 text")
            .expect("it is a log line");
        assert_eq!(event.topic, Topic::Log);
    }
}
