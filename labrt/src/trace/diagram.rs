//! The last events of a run as a text sequence diagram: time runs down, a column per server.
//!
//! ```text
//!        time  S0                  S1                  S2
//!     0.312 s  | candidate 1       |                   |
//!     0.313 s  o--vote 1---------->|                   |
//!     0.313 s  o--vote 1------------------------------x|  (lost)
//! ```

use std::time::Duration;

use super::{Event, EventKind};

/// Characters that all columns may take together: a line is to stay within about 100.
const WIDTH: usize = 86;

/// Characters that one of `servers` columns takes.
fn column_width(servers: usize) -> usize {
    (WIDTH / servers.max(1)).clamp(12, 20)
}

/// Draws the last `limit` of `events` for `servers` servers, below `...` if there are more. What
/// the test does stands at the left between `==`, what happens at one server in its column.
pub fn diagram(events: &[Event], servers: usize, limit: usize) -> String {
    let shown = &events[events.len().saturating_sub(limit)..];
    let mut text = heading(servers);
    if shown.len() < events.len() {
        text.push_str(&format!("{:>11}\n", "..."));
    }
    for event in shown {
        text.push_str(&row(event, servers));
        text.push('\n');
    }
    text
}

fn heading(servers: usize) -> String {
    let width = column_width(servers);
    let name = |server| format!("{:<width$}", format!("S{server}"));
    let names: String = (0..servers).map(name).collect();
    format!("{:>11}  {}\n", "time", names.trim_end())
}

fn row(event: &Event, servers: usize) -> String {
    let seconds = Duration::from_nanos(event.time_ns).as_secs_f64();
    let width = column_width(servers);
    let mut line = lifelines(servers, width);
    let tail = match (event.kind, event.server) {
        (EventKind::Arrived { from }, Some(to)) if from != to => {
            arrow(&mut line, width, (from, to), &event.text, '>');
            ""
        }
        (EventKind::Lost { from }, Some(to)) if from != to => {
            arrow(&mut line, width, (from, to), &event.text, 'x');
            "  (lost)"
        }
        (_, Some(server)) => {
            put(&mut line, server * width + 2, &event.text);
            ""
        }
        (_, None) => {
            put(&mut line, 0, &format!("== {} ==", event.text));
            ""
        }
    };
    let line: String = line.into_iter().collect();
    format!("{seconds:>9.3} s  {}{tail}", line.trim_end())
}

fn lifelines(servers: usize, width: usize) -> Vec<char> {
    let column = |_| std::iter::once('|').chain(std::iter::repeat_n(' ', width - 1));
    (0..servers).flat_map(column).collect()
}

/// A line from one column to another with the message's name on it.
fn arrow(line: &mut Vec<char>, width: usize, ends: (usize, usize), label: &str, head: char) {
    let (start, end) = (ends.0 * width, ends.1 * width);
    let (left, right) = (start.min(end), start.max(end));
    line.resize(line.len().max(right + 1), ' ');
    line[left + 1..right].fill('-');
    line[start] = 'o';
    let rightwards = end > start;
    // The label stands next to the sender, where there is always a column's width for it.
    let room: String = label.chars().take(width - 5).collect();
    let at = if rightwards { left + 3 } else { right - 2 - room.chars().count() };
    put(line, at, &room);
    let tip = if rightwards { right - 1 } else { left + 1 };
    line[tip] = match head {
        '>' if !rightwards => '<',
        other => other,
    };
}

/// Writes over the line from `column` on, making it longer if it has to be.
fn put(line: &mut Vec<char>, column: usize, text: &str) {
    let end = column + text.chars().count();
    line.resize(line.len().max(end), ' ');
    for (place, character) in line[column..end].iter_mut().zip(text.chars()) {
        *place = character;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(milliseconds: u64, server: usize, kind: EventKind, text: &str) -> Event {
        let time_ns = milliseconds * 1_000_000;
        Event { time_ns, server: Some(server), topic: "rpc", kind, text: text.into() }
    }

    #[test]
    fn messages_are_arrows_and_notes_stand_in_their_column() {
        let events = [
            event(312, 0, EventKind::Note, "candidate 1"),
            event(313, 1, EventKind::Arrived { from: 0 }, "vote 1"),
            event(314, 0, EventKind::Arrived { from: 1 }, "granted"),
            event(315, 2, EventKind::Lost { from: 0 }, "vote 1"),
        ];
        let expected = "       time  S0                  S1                  S2
    0.312 s  | candidate 1       |                   |
    0.313 s  o--vote 1---------->|                   |
    0.314 s  |<---------granted--o                   |
    0.315 s  o--vote 1------------------------------x|  (lost)
";
        assert_eq!(diagram(&events, 3, 50), expected);
    }

    #[test]
    fn only_the_last_events_are_drawn() {
        let events: Vec<Event> =
            (0..9).map(|i| event(i, 0, EventKind::Note, &format!("event {i}"))).collect();
        let drawn = diagram(&events, 1, 2);
        assert!(
            !drawn.contains("event 6") && drawn.contains("event 7") && drawn.contains("event 8")
        );
    }
}
