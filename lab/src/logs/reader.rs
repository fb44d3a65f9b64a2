//! Events out of lines, in each of the forms that a log has.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use super::event::{Event, Kind, Who};
use super::source::Lines;
use super::topic::Topic;
use crate::refusal::{Refusal, because};

/// Characters of one message of several lines; no screen has room for more.
const TEXT_MAX: usize = 64 << 10;

/// What a line of a log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// `events.jsonl`: each line an event.
    Events,
    /// `log.txt`: what is no event's first line belongs to the event before.
    Trace,
    /// A program's output, with log lines in it.
    Output,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Event(Event),
    /// A line that is none of the log's.
    Other(String),
}

/// Reads a log's events, one after the other.
pub(crate) struct Reader<R> {
    lines: Lines<R>,
    /// What to call the log.
    name: String,
    form: Form,
    /// Read, but not yet given.
    ahead: VecDeque<Item>,
    roles: BTreeMap<Who, String>,
}

/// A file's form, by its name or its first character.
pub(crate) fn form_of(path: &Path) -> Result<Form, Refusal> {
    if path.file_name().is_some_and(|name| name == "log.txt") {
        return Ok(Form::Trace);
    }
    let cannot = || format!("{} cannot be read", path.display());
    let file = std::fs::File::open(path).map_err(because(cannot()))?;
    let mut file = BufReader::new(file);
    let first = file.fill_buf().map_err(because(cannot()))?.first();
    let events = path.extension().is_some_and(|end| end == "jsonl") || first == Some(&b'{');
    Ok(if events { Form::Events } else { Form::Output })
}

impl<R: BufRead> Reader<R> {
    pub(crate) fn new(lines: Lines<R>, name: String, form: Form) -> Self {
        Self { lines, name, form, ahead: VecDeque::new(), roles: BTreeMap::new() }
    }

    /// The next item.
    ///
    /// # Errors
    /// If the log cannot be read, or a line that must be an event is none: names it by its number.
    pub(crate) fn next(&mut self) -> Result<Option<Item>, Refusal> {
        // In a trace, an event is whole only when the next has begun.
        let wanted = if self.form == Form::Trace { 2 } else { 1 };
        while self.ahead.len() < wanted {
            let line = self.lines.next();
            match line.map_err(because(format!("{} cannot be read", self.name)))? {
                Some(line) => self.take(line)?,
                None => break,
            }
        }
        Ok(self.ahead.pop_front())
    }

    fn take(&mut self, line: String) -> Result<(), Refusal> {
        if self.form != Form::Trace && line.starts_with('{') || self.form == Form::Events {
            match Event::of_json(&line) {
                Ok(event) => self.ahead.push_back(Item::Event(event)),
                Err(_) if self.form == Form::Output => self.ahead.push_back(Item::Other(line)),
                Err(error) => return self.refuse(&error),
            }
            return Ok(());
        }
        if let Some((event, role)) = Event::of_log_line(&line) {
            let change = self.changed(&event, role);
            self.ahead.extend(change.into_iter().chain([event]).map(Item::Event));
            return Ok(());
        }
        match self.ahead.back_mut() {
            Some(Item::Event(event)) if self.form == Form::Trace => {
                if event.text.len() + line.len() < TEXT_MAX {
                    event.text += "\n";
                    event.text += &line;
                }
            }
            _ => self.ahead.push_back(Item::Other(line)),
        }
        Ok(())
    }

    /// A line that is no event. The last one may be half a line: whoever wrote it was stopped.
    fn refuse(&self, error: &serde_json::Error) -> Result<(), Refusal> {
        if !self.lines.is_whole() {
            return Ok(());
        }
        Err(Refusal(format!(
            "{}, line {}, is not an event as a trace has them: {error}",
            self.name,
            self.lines.number()
        )))
    }

    /// A live log tells a server's role in each line; a change of it is an event, as in a trace.
    fn changed(&mut self, event: &Event, role: &str) -> Option<Event> {
        if role.is_empty() || self.roles.get(&event.who).is_some_and(|known| known == role) {
            return None;
        }
        self.roles.insert(event.who, role.to_string());
        let (time_ns, who, text) = (event.time_ns, event.who, role.to_string());
        Some(Event { time_ns, who, topic: Topic::Election, kind: Kind::Note, text })
    }

    /// The columns that the log needs, read to its end.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub(crate) fn survey(mut self) -> Result<BTreeSet<Who>, Refusal> {
        let mut columns = BTreeSet::new();
        while let Some(item) = self.next()? {
            if let Item::Event(event) = item {
                columns.insert(event.who);
                if let Kind::Arrived { from } | Kind::Lost { from } = event.kind {
                    columns.insert(Who::Server(from));
                }
            }
        }
        Ok(columns)
    }
}

/// A file's reader.
pub(crate) fn open(path: &Path) -> Result<Reader<BufReader<std::fs::File>>, Refusal> {
    Ok(Reader::new(Lines::open(path)?, path.display().to_string(), form_of(path)?))
}

/// What is piped in.
pub(crate) fn standard_input() -> Reader<io::StdinLock<'static>> {
    Reader::new(Lines::new(io::stdin().lock()), "the standard input".to_string(), Form::Output)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The items of a log: whose, topic and text of an event, or the line; and how it ended.
    fn read(text: &str, form: Form) -> (Vec<String>, Option<String>) {
        let mut reader = Reader::new(Lines::new(text.as_bytes()), "a log".to_string(), form);
        let mut items = Vec::new();
        loop {
            match reader.next() {
                Ok(Some(Item::Event(Event { who, topic, text, .. }))) => {
                    items.push(format!("{who} {} {text}", topic.name()));
                }
                Ok(Some(Item::Other(line))) => items.push(line),
                Ok(None) => return (items, None),
                Err(Refusal(sentence)) => return (items, Some(sentence)),
            }
        }
    }

    const EVENT: &str = r#"{"time_ns":5,"server":null,"topic":"mine","kind":"note","text":"a\"b"}"#;

    #[test]
    fn a_damaged_line_of_events_is_named_by_its_number() {
        let (items, refusal) = read(&format!("{EVENT}\n{EVENT}\nhm\n{EVENT}\n"), Form::Events);
        assert_eq!(items, ["test log a\"b"; 2]);
        let expected = "a log, line 3, is not an event as a trace has them: expected value at line \
                        1 column 1";
        assert_eq!(refusal.as_deref(), Some(expected));
        let negative = EVENT.replace("null", "-1");
        assert!(read(&format!("{negative}\n"), Form::Events).1.is_some());
    }

    #[test]
    fn half_a_line_at_the_end_is_left_out() {
        let (items, refusal) = read(&format!("{EVENT}\n{}", &EVENT[..20]), Form::Events);
        assert_eq!((items.len(), refusal), (1, None));
        assert_eq!(read(&format!("{EVENT}\n{EVENT}"), Form::Events).0.len(), 2);
    }

    #[test]
    fn the_further_lines_of_a_traces_message_belong_to_it() {
        let trace =
            "   0.000000005 S1    log       one\n two\n   0.000000006 S1    log       three";
        let expected = ["S1 log one\n two", "S1 log three"];
        assert_eq!(read(trace, Form::Trace), (expected.map(String::from).to_vec(), None));
    }

    #[test]
    fn a_message_without_end_does_not_fill_the_memory() {
        let trace =
            format!("   0.000000005 S1    log       one\n{}", "more of it\n".repeat(100_000));
        let (items, _) = read(&trace, Form::Trace);
        assert!(items.len() == 1 && items[0].len() < TEXT_MAX + 100, "{}", items.len());
    }

    #[test]
    fn in_a_programs_output_other_lines_stay_as_they_are() {
        let output = format!(
            "   Compiling raft\n   0.000000005 S1                      commit    up to 5\n\
             FAIL 2A\n{{x\n{EVENT}\n"
        );
        let expected = ["   Compiling raft", "S1 commit up to 5", "FAIL 2A", "{x", "test log a\"b"];
        assert_eq!(read(&output, Form::Output).0, expected);
    }

    #[test]
    fn a_change_of_role_is_an_event_before_the_line_that_tells_it() {
        let line = |role: &str| format!("   0.000000005 S1    {role:<17} commit    x\n");
        let output = [line(""), line("follower 1"), line("follower 1"), line("leader 2")].concat();
        let expected = [
            "S1 commit x",
            "S1 election follower 1",
            "S1 commit x",
            "S1 commit x",
            "S1 election leader 2",
            "S1 commit x",
        ];
        assert_eq!(read(&output, Form::Output).0, expected);
    }

    #[test]
    fn a_survey_finds_those_who_speak_and_those_who_send() {
        let text = r#"{"time_ns":5,"server":3,"topic":"rpc","kind":{"lost":{"from":1}},"text":""}"#;
        let both = format!("{EVENT}\n{text}\n");
        let reader = Reader::new(Lines::new(both.as_bytes()), String::new(), Form::Events);
        let expected = [Who::Test, Who::Server(1), Who::Server(3)];
        assert_eq!(reader.survey().map(Vec::from_iter), Ok(expected.to_vec()));
    }
}
