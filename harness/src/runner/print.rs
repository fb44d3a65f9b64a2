//! What a person sees: a line per test as it ends, the totals, and the failures last.

use std::env;
use std::io::{self, IsTerminal as _};
use std::time::Duration;

use labrt::settings::Settings;
use labrt::time::Instant;

use super::Verdict;
use super::case::TestCase;
use super::test_process::TestResult;

/// Prints a run of tests in libtest's manner.
pub(super) struct Printer {
    started: Instant,
    name_width: usize,
    colour: bool,
    passed: usize,
    skipped: usize,
    footers: Vec<String>,
    details: Vec<String>,
}

const GREEN: &str = "32";
const RED: &str = "31";
const YELLOW: &str = "33";

impl Printer {
    pub(super) fn begin(what: &str, settings: &Settings, selected: &[&TestCase]) -> Self {
        let (count, world) = (selected.len(), settings.world.name());
        println!("\nrunning {count} tests of {what} in {world}, {}", settings.describe_seeds());
        Self {
            started: Instant::now(),
            name_width: selected.iter().map(|case| case.name.len()).max().unwrap_or_default(),
            colour: io::stdout().is_terminal() && env::var_os("NO_COLOR").is_none(),
            passed: 0,
            skipped: 0,
            footers: Vec::new(),
            details: Vec::new(),
        }
    }

    fn paint(&self, text: &str, colour: &str) -> String {
        if self.colour { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_string() }
    }

    pub(super) fn test(&mut self, case: &TestCase, verdict: &Verdict) {
        let (word, more) = match verdict {
            Verdict::Passed(result) => {
                self.passed += 1;
                (self.paint("ok", GREEN), took(result))
            }
            Verdict::Skipped(reason) => {
                self.skipped += 1;
                (self.paint("ignored", YELLOW), format!(", {reason}"))
            }
            Verdict::Failed(told) => {
                self.details.push(told.details.clone());
                self.footers.push(told.footer.clone());
                (self.paint("FAILED", RED), String::new())
            }
        };
        let (name, width) = (case.name, self.name_width);
        println!("test {name:<width$} ... {word}{more}");
    }

    /// Prints failures and totals, and the failures' last lines. True if nothing failed.
    pub(super) fn end(&self, selected: usize, filtered_out: usize) -> bool {
        let told = self.passed + self.skipped + self.footers.len();
        assert!(told == selected, "{told} of {selected} tests came to a result");
        if !self.details.is_empty() {
            println!("\nfailures:\n\n{}", self.details.join("\n"));
        }
        let (passed, failed, skipped) = (self.passed, self.footers.len(), self.skipped);
        let word = match failed {
            0 => self.paint("ok", GREEN),
            _ => self.paint("FAILED", RED),
        };
        let seconds = self.started.elapsed().as_secs_f64();
        println!(
            "\ntest result: {word}. {passed} passed; {failed} failed; {skipped} ignored; \
             0 measured; {filtered_out} filtered out; finished in {seconds:.2}s\n"
        );
        print!("{}", self.footers.iter().map(|footer| format!("{footer}\n")).collect::<String>());
        failed == 0
    }
}

/// What a test took: world time, RPCs and bytes on average over its seeds.
fn took(result: &TestResult) -> String {
    let runs = result.passed.max(1);
    let total = &result.total;
    let time = total.time / u32::try_from(runs).unwrap_or(u32::MAX);
    let (servers, rpcs, bytes) = (total.servers, total.rpcs / runs, total.bytes / runs);
    let seeds = if runs == 1 { "1 seed".to_string() } else { format!("{runs} seeds") };
    let leaked = match result.leaked.len() {
        0 => String::new(),
        1 => format!(", a thread leaked: {}", result.leaked[0]),
        count => format!(", {count} threads leaked, the first: {}", result.leaked[0]),
    };
    let commands = match total.commands / runs {
        0 => String::new(),
        commands => format!(", {commands} commands"),
    };
    let seconds = Duration::as_secs_f64(&time);
    format!(
        "  {seconds:>7.3} s, {servers} servers, {rpcs:>5} RPCs, {bytes:>7} B{commands}, \
         {seeds}{leaked}"
    )
}
