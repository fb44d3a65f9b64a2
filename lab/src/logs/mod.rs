//! A run's log, with a column for each server.
//!
//! ```text
//!     time  topic     | test              | S0                | S1
//!    0.312  election  |                   | candidate 1       |
//!    0.313  rpc       |                   |                   | S0-> request_vote
//!    0.314  rpc       |                   | S1-x re           |
//!                     |                   | request_vote      |
//!    1.250  test      | disconnect S0     |                   |
//! ```
//!
//! Time runs down. A message stands where it arrived, behind its sender and an arrow; one that was
//! lost has an `x` for its tip. What is told is what the trace has (`labrt::trace`), or else the
//! log lines of a run that goes on, where arrivals, losses and what the test does are not told.
//!
//! A log may be large, so nothing holds it in memory: a file is read twice, once for the columns
//! that it needs and once for what it says, and a live log's first lines are held back until its
//! servers have spoken. A file of events is refused at a line that is damaged; a program's output
//! may hold whatever it likes between its log lines, and is shown as it is.
//!
//! | module | what it holds |
//! |---|---|
//! | `topic` | topics, and the names that people have for them |
//! | `event` | one thing that happened, and its forms in files and logs |
//! | `source`, `reader` | where a log is; events out of its lines |
//! | `filter` | which of them are wanted |
//! | `layout`, `screen` | how they are set, and written out |
//!
//! # Left out
//! Arrows from column to column: a failing run's last events are drawn so
//! (`labrt::trace::diagram`), but between them there is no room for what servers say. Paging and
//! searching: `less -R` does both (`CLICOLOR_FORCE=1 lab logs | less -R`).

mod event;
mod filter;
mod layout;
mod reader;
mod screen;
mod source;
mod topic;

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anstream::AutoStream;

use crate::refusal::{Refusal, because};
use event::Who;
use filter::Filter;
use reader::{Item, Reader};
use screen::Screen;
use source::Source;

/// Show a run's log, with a column for each server.
///
/// In its column stands what a server says, and which messages reach it: S0-> from S0, S0-x if it
/// was lost. Where columns would be too narrow to read, each message is behind its server's name.
/// Colours tell topics on a terminal; NO_COLOR switches them off.
///
///   lab logs                                       the newest trace in target/lab
///   lab logs figure8_2C-40826 --only election,commit   two topics of that one
///   lab logs --from 13.9s --server S1,S3           how it ended, for these two
///   lab replay TEST --seed 3 2>&1 | lab logs -     a run's log lines as it goes on
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// A trace's folder or its name, one of its files, a file of log lines, or - for what is piped
    /// in [default: what is piped in, or else the newest trace in target/lab]
    #[arg(value_name = "FILE|FOLDER")]
    log: Option<PathBuf>,
    /// Characters in a line [default: the terminal's, or 100]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(20..=1000))]
    cols: Option<u16>,
    #[command(flatten)]
    filter: Filter,
}

/// Characters in a line where there is no terminal.
const COLS: u16 = 100;

/// Why no more is shown.
enum Stop {
    Refused(Refusal),
    Unwritten(io::Error),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Unwritten(error)
    }
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, Refusal> {
    match show(args) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        // Whoever reads has seen enough.
        Err(Stop::Unwritten(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            Ok(ExitCode::SUCCESS)
        }
        Err(Stop::Unwritten(error)) => Err(because("the log could not be written")(error)),
        Err(Stop::Refused(refusal)) => Err(refusal),
    }
}

fn show(args: &Args) -> Result<(), Stop> {
    let terminal = terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| width.0);
    let width = usize::from(args.cols.or(terminal).unwrap_or(COLS));
    let out = BufWriter::new(AutoStream::auto(io::stdout()).lock());
    let filter = &args.filter;
    let shown = match Source::find(args.log.as_deref())? {
        Source::Live => {
            let screen = Screen::new(out, filter.columns(), width);
            copy(reader::standard_input(), screen, filter, true)?
        }
        Source::File(path) => {
            let columns = columns(reader::open(&path)?.survey()?, filter)?;
            let screen = Screen::new(out, Some(columns), width);
            copy(reader::open(&path)?, screen, filter, false)?
        }
    };
    if shown == 0 {
        eprintln!("this log has no event, or none of those that are asked for");
    }
    Ok(())
}

/// Those columns of a log that are asked for.
///
/// # Errors
/// If the log has none of them.
fn columns(all: BTreeSet<Who>, filter: &Filter) -> Result<BTreeSet<Who>, Refusal> {
    let Some(wanted) = filter.columns() else { return Ok(all) };
    match wanted.difference(&all).next() {
        None => Ok(wanted),
        Some(missing) => {
            let names: Vec<String> = all.iter().map(ToString::to_string).collect();
            Err(Refusal(format!("this log has no {missing}, only {}", names.join(", "))))
        }
    }
}

/// Shows the events that pass. Gives how many did. A live log's are seen at once.
fn copy(
    mut reader: Reader<impl BufRead>,
    mut screen: Screen<impl Write>,
    filter: &Filter,
    live: bool,
) -> Result<u64, Stop> {
    let mut shown = 0;
    while let Some(item) = reader.next()? {
        match item {
            Item::Event(event) if filter.passes(&event) => {
                shown += 1;
                screen.event(event)?;
            }
            Item::Event(_) => {}
            Item::Other(line) => screen.other(&line)?,
        }
        if live {
            screen.flush()?;
        }
    }
    screen.release()?;
    screen.flush()?;
    Ok(shown)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::source::Lines;
    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn filter(arguments: &str) -> Filter {
        let words = ["logs"].into_iter().chain(arguments.split_whitespace());
        Line::try_parse_from(words).expect("it is understood").args.filter
    }

    #[test]
    fn a_column_that_the_log_has_not_is_refused_by_naming_those_it_has() {
        let all = || BTreeSet::from([Who::Test, Who::Server(0), Who::Server(3)]);
        assert_eq!(columns(all(), &filter("")), Ok(all()));
        assert_eq!(columns(all(), &filter("--server S3")), Ok([Who::Server(3)].into()));
        let refusal = columns(all(), &filter("--server S1,S3")).map(|_| ());
        let sentence = "this log has no S1, only test, S0, S3".to_string();
        assert_eq!(refusal, Err(Refusal(sentence)));
    }

    #[test]
    fn what_does_not_pass_is_not_shown_and_other_lines_are() {
        let log = "   0.000000005 S1    persist   a write\n   0.100000006 S0    commit    up to 7\n\
                   FAIL 2A\n";
        let reader =
            Reader::new(Lines::new(log.as_bytes()), "a log".to_string(), reader::Form::Output);
        let mut text = Vec::new();
        let screen = Screen::new(&mut text, None, 40);
        let shown = copy(reader, screen, &filter("--drop persist"), true);
        assert!(matches!(shown, Ok(1)));
        let text = anstream::adapter::strip_str(&String::from_utf8_lossy(&text)).to_string();
        assert_eq!(text, "    time  topic     | S0\n   0.100  commit    | up to 7\nFAIL 2A\n");
    }

    #[test]
    fn widths_that_make_no_sense_are_refused() {
        for wrong in ["0", "19", "1001", "wide"] {
            assert!(Line::try_parse_from(["logs", "--cols", wrong]).is_err(), "{wrong}");
        }
    }
}
