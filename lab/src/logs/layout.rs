//! How events are set: a column for each server where there is room for it, else a line each.

use std::borrow::Cow;
use std::collections::BTreeSet;

use anstyle::Style;
use textwrap::WordSeparator;
use textwrap::core::{Word, break_words, display_width};
use textwrap::wrap_algorithms::wrap_first_fit;

use super::event::{Event, Kind, Who};
use super::topic::Topic;

/// What stands left of the columns: seconds, and two spaces.
const TIME_WIDTH: usize = 10;
/// A topic, and a space.
const TOPIC_WIDTH: usize = 10;
/// A server's name in a line of its own, and a space.
const NAME_WIDTH: usize = 5;
/// What a column has beside text: its life line, a space before the text, and one behind it.
const FRAME_WIDTH: usize = 3;
/// A column with less room for text than this cannot be read.
const TEXT_MIN: usize = 8;
/// The topic gets a column where that leaves all others this much.
const TEXT_BESIDE_TOPIC_MIN: usize = 17;
/// Lines that one message may take; its end is in the file.
const LINES_MAX: usize = 20;

const HEADING: Style = Style::new().bold();
const FRAME: Style = Style::new().dimmed();

/// Where things stand on a screen of some width.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    columns: Vec<Who>,
    /// Whether the topic is told in words.
    topic: bool,
    shape: Shape,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// Each column has room for so much text.
    Columns(usize),
    /// The columns would be too narrow: each message is behind its server's name.
    List(usize),
}

impl Layout {
    pub(crate) fn new(columns: &BTreeSet<Who>, width: usize) -> Self {
        let columns: Vec<Who> = columns.iter().copied().collect();
        let room = |width: usize| (width / columns.len().max(1)).saturating_sub(FRAME_WIDTH);
        let plain = width.saturating_sub(TIME_WIDTH);
        let beside_topic = plain.saturating_sub(TOPIC_WIDTH);
        let (topic, shape) = if room(beside_topic) >= TEXT_BESIDE_TOPIC_MIN {
            (true, Shape::Columns(room(beside_topic)))
        } else if room(plain) >= TEXT_MIN {
            (false, Shape::Columns(room(plain)))
        } else {
            let list = beside_topic.saturating_sub(NAME_WIDTH);
            let topic = list >= TEXT_BESIDE_TOPIC_MIN;
            let text = if topic { list } else { plain.saturating_sub(NAME_WIDTH) };
            (topic, Shape::List(text.max(TEXT_MIN)))
        };
        Self { columns, topic, shape }
    }

    /// The names of the columns; a list has none.
    pub(crate) fn heading(&self) -> String {
        let Shape::Columns(text) = self.shape else { return String::new() };
        let mut line = format!("{:>8}  ", "time");
        if self.topic {
            line += &format!("{:<TOPIC_WIDTH$}", "topic");
        }
        for who in &self.columns {
            line += &format!("| {:<width$}", who.to_string(), width = text + 1);
        }
        format!("{HEADING}{}{HEADING:#}\n", line.trim_end())
    }

    /// An event's lines, in colours.
    pub(crate) fn lines(&self, event: &Event) -> String {
        let words = event.words();
        match self.shape {
            Shape::Columns(text) => self.in_column(event, &wrapped(&words, text), text),
            Shape::List(text) => self.in_list(event, &wrapped(&words, text)),
        }
    }

    fn in_column(&self, event: &Event, pieces: &[String], text: usize) -> String {
        let (mut lines, style) = (String::new(), style(event));
        let place = self.columns.iter().position(|who| *who == event.who).unwrap_or(0);
        let empty = |columns: usize| format!("|{:width$}", "", width = text + 2).repeat(columns);
        let (before, behind) = (empty(place), empty(self.columns.len().saturating_sub(place + 1)));
        for (number, piece) in pieces.iter().enumerate() {
            let margin = self.margin(event, number == 0);
            // As much as is left of the text's room, and of the spaces before and behind it.
            let taken = if piece.is_empty() { 0 } else { 1 + display_width(piece) };
            let padding = " ".repeat((text + 2).saturating_sub(taken));
            let text = match &**piece {
                "" => String::new(),
                piece => format!(" {style}{piece}{style:#}"),
            };
            lines += &format!("{margin}{FRAME}{before}|{FRAME:#}{text}");
            if !behind.is_empty() {
                lines += &format!("{padding}{FRAME}{}{FRAME:#}", behind.trim_end());
            }
            lines.push('\n');
        }
        lines
    }

    fn in_list(&self, event: &Event, pieces: &[String]) -> String {
        let (mut lines, style) = (String::new(), style(event));
        for (number, piece) in pieces.iter().enumerate() {
            let name = if number == 0 { event.who.to_string() } else { String::new() };
            let margin = self.margin(event, number == 0);
            let line = format!("{margin}{name:<NAME_WIDTH$}{style}{piece}{style:#}");
            lines += line.trim_end();
            lines.push('\n');
        }
        lines
    }

    /// Time and topic, which a message's further lines leave out.
    fn margin(&self, event: &Event, first: bool) -> String {
        let width = TIME_WIDTH + if self.topic { TOPIC_WIDTH } else { 0 };
        if !first {
            return " ".repeat(width);
        }
        let (style, name) = (event.topic.style(), event.topic.name());
        let topic = match self.topic {
            true => format!("{style}{name:<TOPIC_WIDTH$}{style:#}"),
            false => String::new(),
        };
        format!("{}  {topic}", seconds(event.time_ns))
    }
}

/// To the millisecond, as in a failure's diagram; a trace's files have the rest.
pub(crate) fn seconds(time_ns: u64) -> String {
    let milliseconds = milliseconds(time_ns);
    format!("{:>4}.{:03}", milliseconds / 1_000, milliseconds % 1_000)
}

/// Rounded, as all shown times are.
pub(crate) fn milliseconds(time_ns: u64) -> u64 {
    time_ns / 1_000_000 + u64::from(time_ns % 1_000_000 >= 500_000)
}

/// A lost message is what one looks for among those that arrived; so is a change of role.
fn style(event: &Event) -> Style {
    match (event.kind, event.topic) {
        (Kind::Lost { .. }, _) => Topic::Oracle.style(),
        (_, Topic::Election) if is_role(&event.text) => event.topic.style().bold(),
        _ => event.topic.style(),
    }
}

/// Whether a text is a server's role and term, and nothing else.
fn is_role(text: &str) -> bool {
    let term = |term: &str| !term.is_empty() && term.bytes().all(|byte| byte.is_ascii_digit());
    text.split_once(' ').is_some_and(|(_, rest)| term(rest))
}

/// Text that moves no cursor: what code under test says may hold any character.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|letter| letter.is_control() && letter != '\n') {
        return Cow::Borrowed(text);
    }
    let shown = |letter: char| match letter {
        '\n' => '\n',
        '\t' => ' ',
        letter if letter.is_control() => '\u{fffd}',
        letter => letter,
    };
    Cow::Owned(text.chars().map(shown).collect())
}

/// The text in pieces of at most `width`.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let text = printable(text);
    let mut pieces: Vec<String> = text.split('\n').flat_map(|line| pieces(line, width)).collect();
    if pieces.len() > LINES_MAX {
        pieces.truncate(LINES_MAX - 1);
        pieces.push("[...]".to_string());
    }
    pieces
}

/// A line, broken between words; within one only where it is too long, and then best behind a `_`
/// or a `-`: the names of RPCs and functions have the one, `pre-candidate` has the other.
fn pieces(line: &str, width: usize) -> Vec<String> {
    let words = WordSeparator::AsciiSpace.find_words(line);
    let words = words.flat_map(|word| match display_width(&word) > width {
        true => parts(word),
        false => vec![word],
    });
    let words = break_words(words, width);
    let piece = |words: &[Word<'_>]| {
        let text: String = words.iter().flat_map(|word| [word.word, word.whitespace]).collect();
        text.trim_end().to_string()
    };
    wrap_first_fit(&words, &[width as f64]).into_iter().map(piece).collect()
}

/// The parts of a name, each up to its `_` or `-`.
fn parts(word: Word<'_>) -> Vec<Word<'_>> {
    let mut parts: Vec<Word<'_>> = word.word.split_inclusive(['_', '-']).map(Word::from).collect();
    if let Some(last) = parts.last_mut() {
        last.whitespace = word.whitespace;
    }
    parts
}

#[cfg(test)]
mod tests {
    use anstream::adapter::strip_str;

    use super::*;

    fn event(milliseconds: u64, who: Who, topic: Topic, kind: Kind, text: &str) -> Event {
        let time_ns = milliseconds * 1_000_000;
        Event { time_ns, who, topic, kind, text: text.to_string() }
    }

    fn columns(servers: usize) -> BTreeSet<Who> {
        [Who::Test].into_iter().chain((0..servers).map(Who::Server)).collect()
    }

    fn told() -> Vec<Event> {
        let (s0, s1) = (Who::Server(0), Who::Server(1));
        vec![
            event(12, s0, Topic::Election, Kind::Note, "candidate 1"),
            event(312, s1, Topic::Rpc, Kind::Arrived { from: 0 }, "request_vote"),
            event(313, s0, Topic::Rpc, Kind::Lost { from: 1 }, "re request_vote"),
            event(1_250, Who::Test, Topic::Test, Kind::Note, "disconnect S0"),
            event(
                120_000,
                s1,
                Topic::Log,
                Kind::Note,
                "starts over with a_word_too_long_for_any_column",
            ),
        ]
    }

    fn drawn(servers: usize, width: usize) -> String {
        let layout = Layout::new(&columns(servers), width);
        let text = told().iter().fold(layout.heading(), |text, event| text + &layout.lines(event));
        strip_str(&text).to_string()
    }

    #[test]
    fn each_server_has_a_column_and_long_messages_are_wrapped_in_it() {
        let expected = "    time  | test       | S0         | S1
   0.012  |            | candidate  |
          |            | 1          |
   0.312  |            |            | S0->
          |            |            | request_
          |            |            | vote
   0.313  |            | S1-x re    |
          |            | request_   |
          |            | vote       |
   1.250  | disconnect |            |
          | S0         |            |
 120.000  |            |            | starts
          |            |            | over with
          |            |            | a_word_
          |            |            | too_long_
          |            |            | for_any_
          |            |            | column
";
        assert_eq!(drawn(2, 50), expected);
    }

    #[test]
    fn where_there_is_room_the_topic_has_a_column_too() {
        let expected = "    time  topic     | test              | S0                | S1
   0.012  election  |                   | candidate 1       |
   0.312  rpc       |                   |                   | S0-> request_vote
   0.313  rpc       |                   | S1-x re           |
                    |                   | request_vote      |
   1.250  test      | disconnect S0     |                   |
 120.000  log       |                   |                   | starts over with
                    |                   |                   | a_word_too_long_
                    |                   |                   | for_any_column
";
        assert_eq!(drawn(2, 80), expected);
    }

    #[test]
    fn where_columns_would_be_too_narrow_each_message_is_behind_its_servers_name() {
        let expected = "   0.012  election  S0   candidate 1
   0.312  rpc       S1   S0-> request_vote
   0.313  rpc       S0   S1-x re request_vote
   1.250  test      test disconnect S0
 120.000  log       S1   starts over with a_word_
                         too_long_for_any_column
";
        assert_eq!(drawn(7, 50), expected);
        let narrow = "   0.012  S0   candidat
               e 1
   0.312  S1   S0->
               request_
               vote
";
        assert!(drawn(7, 20).starts_with(narrow), "{}", drawn(7, 20));
    }

    #[test]
    fn no_line_is_wider_than_the_screen() {
        for width in 23..200 {
            for servers in 0..9 {
                for line in drawn(servers, width).lines() {
                    assert!(display_width(line) <= width, "{servers} servers, {width}: {line}");
                }
            }
        }
    }

    #[test]
    fn a_hundred_characters_hold_a_column_for_each_of_seven_servers() {
        assert!(matches!(Layout::new(&columns(5), 100).shape, Shape::Columns(12)));
        assert!(matches!(Layout::new(&columns(7), 100).shape, Shape::Columns(8)));
        assert!(matches!(Layout::new(&columns(8), 100).shape, Shape::List(75)));
    }

    #[test]
    fn wide_characters_keep_the_columns_straight() {
        let layout = Layout::new(&columns(1), 40);
        let wide = event(1, Who::Test, Topic::Log, Kind::Note, "測試測試測試測試測試 ü");
        let expected = "   0.001  | 測試測試測試 |
          | 測試測試 ü   |
";
        assert_eq!(strip_str(&layout.lines(&wide)).to_string(), expected);
    }

    #[test]
    fn nothing_that_code_says_moves_the_cursor_and_its_lines_stay_in_their_column() {
        let layout = Layout::new(&columns(1), 80);
        let text = "\u{1b}[31mred\rback\ta\nnext";
        let lines = layout.lines(&event(1, Who::Server(0), Topic::Log, Kind::Note, text));
        let expected =
            "   0.001  log       |                             | \u{fffd}[31mred\u{fffd}back a
                    |                             | next
";
        assert_eq!(strip_str(&lines).to_string(), expected);
    }

    #[test]
    fn a_message_of_thousands_of_characters_ends_in_dots() {
        let layout = Layout::new(&columns(5), 100);
        let long = "7, ".repeat(5_000);
        let lines = layout.lines(&event(1, Who::Server(4), Topic::Log, Kind::Note, &long));
        assert_eq!(lines.lines().count(), LINES_MAX);
        assert!(strip_str(&lines).to_string().ends_with("| [...]\n"), "{lines}");
    }

    #[test]
    fn words_stay_whole_and_long_names_fall_into_their_parts() {
        assert_eq!(pieces("re  append_entries S1", 14), ["re", "append_entries", "S1"]);
        assert_eq!(pieces("re  append_entries S1", 12), ["re  append_", "entries S1"]);
        assert_eq!(pieces("pre-candidate in term", 12), ["pre-", "candidate in", "term"]);
        assert_eq!(pieces("abcde_f_g", 4), ["abcd", "e_f_", "g"]);
        assert_eq!(pieces("ü_測試_", 4), ["ü_", "測試", "_"]);
        assert_eq!(pieces("", 4), [""]);
        assert_eq!(wrapped("a\n\nb", 4), ["a", "", "b"]);
    }

    #[test]
    fn times_are_rounded_as_in_the_diagram() {
        let shown = [499_999, 500_000, 6_481_700_000, 59_999_999_999, u64::MAX].map(seconds);
        let expected = ["   0.000", "   0.001", "   6.482", "  60.000", "18446744073.710"];
        assert_eq!(shown, expected);
    }

    #[test]
    fn an_empty_message_has_its_line() {
        let layout = Layout::new(&columns(1), 80);
        let lines = layout.lines(&event(1, Who::Test, Topic::Commit, Kind::Note, ""));
        assert_eq!(
            strip_str(&lines).to_string(),
            "   0.001  commit    |                             |\n"
        );
    }

    #[test]
    fn a_change_of_role_stands_out_and_so_does_a_lost_message() {
        let [role, arrived, lost, ..] = &told()[..] else { panic!("there are several") };
        assert_ne!(style(role), role.topic.style());
        assert_eq!(style(arrived), arrived.topic.style());
        assert_ne!(style(lost), lost.topic.style());
        for other in ["2 of 3 votes", "votes for S1", "leader", "leader "] {
            assert!(!is_role(other), "{other}");
        }
    }
}
