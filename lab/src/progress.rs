//! How far a campaign is: bars for a person at a terminal, plain lines for everybody else.

use std::io::{self, IsTerminal as _};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use labrt::time::{Duration, Instant};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::campaign::Seeds;
use crate::record::{Key, Record};
use crate::selection::Selected;
use crate::tally::Tally;

/// How often a plain line says how far it is.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// More bars than this, or than the terminal has lines, do not fit: then only the tests that are
/// being run have one.
const BARS_MAX: usize = 16;

fn bars_max() -> usize {
    // One for all of them, and one for the prompt.
    let lines = terminal_size::terminal_size_of(std::io::stderr())
        .map_or(BARS_MAX, |(_, height)| usize::from(height.0).saturating_sub(2));
    lines.min(BARS_MAX)
}

/// What a person sees while a campaign runs.
pub(crate) struct Progress {
    view: View,
    tests: Vec<One>,
    /// All runs that are to be, if that is known.
    total: Option<u64>,
    runs: u64,
    failed: u64,
}

enum View {
    Bars { all: MultiProgress, total: ProgressBar, show_all: bool, _quiet: Option<QuietKeys> },
    Lines { told: Instant },
}

/// A test's.
struct One {
    name: String,
    bar: Option<ProgressBar>,
    length: Option<u64>,
    runs: u64,
    failed: u64,
    batches: usize,
}

impl Progress {
    /// `tally` counts what an earlier campaign ran.
    pub(crate) fn begin(
        tests: &[Selected],
        seeds: &Seeds,
        time: Option<Duration>,
        tally: &Tally,
    ) -> Self {
        // With a limit of time nobody knows how many there will be.
        let length = time.is_none().then(|| seeds.count());
        let total = length.map(|length| length.saturating_mul(tests.len() as u64));
        let one = |test: &Selected| {
            let name = test.test().name.clone();
            let counts = tally.get(&Key::of(test)).map(|runs| (runs.count, runs.failed));
            let (runs, failed) = counts.unwrap_or_default();
            One { name, bar: None, length, runs, failed, batches: 0 }
        };
        let tests: Vec<One> = tests.iter().map(one).collect();
        let view = match io::stderr().is_terminal() {
            false => View::Lines { told: Instant::now() },
            true => {
                let all = MultiProgress::new();
                let bar = bar_of(total).with_message("in all");
                let bar = all.add(bar);
                bar.enable_steady_tick(std::time::Duration::from_millis(250));
                let _quiet = QuietKeys::begin();
                View::Bars { all, total: bar, show_all: tests.len() <= bars_max(), _quiet }
            }
        };
        let (runs, failed) = (tally.count(), tally.failed());
        let mut progress = Self { view, tests, total, runs, failed };
        progress.show_all();
        progress
    }

    fn show_all(&mut self) {
        if matches!(self.view, View::Bars { show_all: true, .. }) {
            (0..self.tests.len()).for_each(|place| self.show(place));
        }
    }

    fn show(&mut self, place: usize) {
        let View::Bars { all, total, .. } = &self.view else { return };
        let test = &mut self.tests[place];
        let bar = all.insert_before(total, bar_of(test.length)).with_message(test.name.clone());
        bar.set_position(test.runs);
        bar.set_prefix(failures(test.failed));
        test.bar = Some(bar);
    }

    /// A batch of the test at this place has begun.
    pub(crate) fn began(&mut self, place: usize) {
        self.tests[place].batches += 1;
        if self.tests[place].bar.is_none() {
            self.show(place);
        }
    }

    /// A batch of the test at this place has ended.
    pub(crate) fn ended(&mut self, place: usize) {
        self.tests[place].batches -= 1;
        if let View::Bars { all, show_all: false, .. } = &self.view
            && self.tests[place].batches == 0
            && let Some(bar) = self.tests[place].bar.take()
        {
            all.remove(&bar);
        }
    }

    pub(crate) fn run(&mut self, place: usize, record: &Record) {
        let failed = u64::from(record.failure.is_some());
        self.runs += 1;
        self.failed += failed;
        let test = &mut self.tests[place];
        test.runs += 1;
        test.failed += failed;
        if let Some(bar) = &test.bar {
            bar.set_position(test.runs);
            bar.set_prefix(failures(test.failed));
        }
        match &mut self.view {
            View::Bars { total, .. } => {
                total.set_position(self.runs);
                total.set_prefix(failures(self.failed));
            }
            View::Lines { told } => {
                if told.elapsed() >= LINE_EVERY {
                    *told = Instant::now();
                    self.tell();
                }
            }
        }
    }

    fn tell(&self) {
        let of = self.total.map(|total| format!(" of {total}")).unwrap_or_default();
        let (runs, failed) = (self.runs, self.failed);
        eprintln!("{runs}{of} runs, {failed} failed");
    }

    /// Leaves the terminal as it was.
    pub(crate) fn end(&self) {
        if let View::Bars { all, .. } = &self.view {
            let _ = all.clear();
            // Or a tick on its way would draw once more.
            all.set_draw_target(ProgressDrawTarget::hidden());
        }
    }
}

/// The terminal does not write `^C` while bars are drawn: the line that it takes is one that they
/// do not reckon with, and one of theirs would stay behind.
struct QuietKeys(Termios);

impl QuietKeys {
    /// None if the terminal cannot be told.
    fn begin() -> Option<Self> {
        let before = tcgetattr(io::stderr()).ok()?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHOCTL);
        tcsetattr(io::stderr(), OptionalActions::Now, &quiet).ok()?;
        Some(Self(before))
    }
}

impl Drop for QuietKeys {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stderr(), OptionalActions::Now, &self.0);
    }
}

fn failures(count: u64) -> String {
    if count == 0 { String::new() } else { format!("{count} failed") }
}

fn bar_of(length: Option<u64>) -> ProgressBar {
    let template = match length {
        Some(_) => "{wide_msg} {prefix:.red} [{bar:20}] {pos:>7}/{len:<7} {eta:>4}",
        None => "{wide_msg} {prefix:.red} {pos:>7} runs {elapsed:>4}",
    };
    let style = ProgressStyle::with_template(template).unwrap_or(ProgressStyle::default_bar());
    length
        .map_or_else(ProgressBar::no_length, ProgressBar::new)
        .with_style(style.progress_chars("=> "))
}
