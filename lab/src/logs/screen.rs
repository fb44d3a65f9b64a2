//! Events as they are written out.
//!
//! A file is read before, so its columns are known. A live log's are not: its first lines are held
//! back until most servers have spoken, and a server that speaks later gets its column then.

use std::collections::BTreeSet;
use std::io::{self, Write};

use super::event::{Event, Who};
use super::layout::{Layout, printable, seconds};

/// Events of a live log that are held back at most.
const HELD_MAX: usize = 200;
/// World time for which they are held back: most servers have said something by then.
const HELD_NS: u64 = 300_000_000;
/// Events between two headings.
const HEADING_EVERY: usize = 60;
/// On OS threads, a line may come so much later than the next; more is another run.
const BACK_NS: u64 = 100_000_000;

pub(crate) struct Screen<W> {
    out: W,
    width: usize,
    columns: BTreeSet<Who>,
    layout: Layout,
    /// The first events, while the columns are not known.
    held: Option<Vec<Event>>,
    /// Events since the heading; none before the first.
    since_heading: Option<usize>,
    last_ns: u64,
}

impl<W: Write> Screen<W> {
    /// Without columns, the first events decide.
    pub(crate) fn new(out: W, columns: Option<BTreeSet<Who>>, width: usize) -> Self {
        let held = if columns.is_some() { None } else { Some(Vec::new()) };
        let columns = columns.unwrap_or_default();
        let layout = Layout::new(&columns, width);
        Self { out, width, columns, layout, held, since_heading: None, last_ns: 0 }
    }

    pub(crate) fn event(&mut self, event: Event) -> io::Result<()> {
        let Some(held) = &mut self.held else { return self.write(&event) };
        let first = held.first().map_or(event.time_ns, |first| first.time_ns);
        let enough = held.len() + 1 == HELD_MAX || event.time_ns.abs_diff(first) > HELD_NS;
        held.push(event);
        if enough { self.release() } else { Ok(()) }
    }

    /// A line that is none of the log's; at its place among those that are.
    pub(crate) fn other(&mut self, line: &str) -> io::Result<()> {
        if self.held.as_ref().is_some_and(|held| !held.is_empty()) {
            self.release()?;
        }
        writeln!(self.out, "{}", printable(line))
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Writes what was held back.
    ///
    /// # Errors
    /// If nothing can be written.
    pub(crate) fn release(&mut self) -> io::Result<()> {
        let held = self.held.take().unwrap_or_default();
        self.widen(held.iter().map(|event| event.who));
        held.iter().try_for_each(|event| self.write(event))
    }

    fn widen(&mut self, columns: impl Iterator<Item = Who>) {
        let before = self.columns.len();
        self.columns.extend(columns);
        if self.columns.len() > before {
            self.layout = Layout::new(&self.columns, self.width);
            self.since_heading = None;
        }
    }

    fn write(&mut self, event: &Event) -> io::Result<()> {
        self.widen([event.who].into_iter());
        if event.time_ns.saturating_add(BACK_NS) < self.last_ns {
            let time = seconds(event.time_ns);
            writeln!(self.out, "== another run, at {} s ==", time.trim_start())?;
            self.since_heading = None;
            self.last_ns = 0;
        }
        self.last_ns = self.last_ns.max(event.time_ns);
        if self.since_heading.is_none_or(|events| events == HEADING_EVERY) {
            write!(self.out, "{}", self.layout.heading())?;
            self.since_heading = Some(0);
        }
        self.since_heading = self.since_heading.map(|events| events + 1);
        write!(self.out, "{}", self.layout.lines(event))
    }
}

#[cfg(test)]
mod tests {
    use anstream::adapter::strip_str;

    use super::super::event::Kind;
    use super::super::topic::Topic;
    use super::*;

    fn event(milliseconds: u64, server: usize) -> Event {
        Event {
            time_ns: milliseconds * 1_000_000,
            who: Who::Server(server),
            topic: Topic::Commit,
            kind: Kind::Note,
            text: "up to 7".to_string(),
        }
    }

    fn drawn(columns: Option<BTreeSet<Who>>, play: impl FnOnce(&mut Screen<Vec<u8>>)) -> String {
        let mut screen = Screen::new(Vec::new(), columns, 40);
        play(&mut screen);
        strip_str(&String::from_utf8(screen.out).expect("it is text")).to_string()
    }

    fn play(screen: &mut Screen<Vec<u8>>, events: impl IntoIterator<Item = Event>) {
        for event in events {
            screen.event(event).expect("memory can be written");
        }
    }

    #[test]
    fn a_live_logs_first_events_decide_on_its_columns_and_later_servers_get_theirs() {
        let text = drawn(None, |screen| {
            play(screen, [event(1, 1), event(2, 0)]);
            assert!(screen.out.is_empty(), "it is held back");
            play(screen, [event(400, 0), event(401, 4)]);
        });
        let expected = "    time  | S0           | S1
   0.001  |              | up to 7
   0.002  | up to 7      |
   0.400  | up to 7      |
   0.401  S4   up to 7
";
        assert_eq!(text, expected);
    }

    #[test]
    fn no_more_than_a_screenful_of_a_live_log_is_held_back() {
        drawn(None, |screen| {
            play(screen, (1..HELD_MAX as u64).map(|_| event(1, 0)));
            assert!(screen.out.is_empty());
            play(screen, [event(1, 0)]);
            assert!(!screen.out.is_empty());
        });
    }

    #[test]
    fn other_lines_stand_at_their_place() {
        let text = drawn(None, |screen| {
            screen.other("before").expect("memory can be written");
            play(screen, [event(1, 0)]);
            screen.other("behind").expect("memory can be written");
        });
        assert_eq!(
            text,
            "before\n    time  topic     | S0\n   0.001  commit    | up to 7\nbehind\n"
        );
    }

    #[test]
    fn no_line_that_is_none_of_the_logs_moves_the_cursor_either() {
        let said = "\u{1b}[2J\u{1b}]0;title\u{7}gone\rover\tit\u{9b}31m";
        let columns = Some([Who::Server(0)].into());
        let mut screen = Screen::new(Vec::new(), columns, 40);
        screen.other(said).expect("memory can be written");
        let text = String::from_utf8(screen.out).expect("it is text");
        assert_eq!(text, "\u{fffd}[2J\u{fffd}]0;title\u{fffd}gone\u{fffd}over it\u{fffd}31m\n");
    }

    #[test]
    fn a_clock_that_goes_back_is_another_run_and_one_line_out_of_order_is_none() {
        let columns = Some([Who::Server(0)].into());
        let text =
            drawn(columns, |screen| play(screen, [500, 450, 100, 0, 1].map(|at| event(at, 0))));
        let expected = "    time  topic     | S0
   0.500  commit    | up to 7
   0.450  commit    | up to 7
== another run, at 0.100 s ==
    time  topic     | S0
   0.100  commit    | up to 7
   0.000  commit    | up to 7
   0.001  commit    | up to 7
";
        assert_eq!(text, expected);
    }

    #[test]
    fn the_heading_comes_again_on_every_screen() {
        let columns = Some([Who::Server(0)].into());
        let text = drawn(columns, |screen| play(screen, (0..150).map(|at| event(at, 0))));
        assert_eq!(text.matches("| S0").count(), 3);
    }
}
