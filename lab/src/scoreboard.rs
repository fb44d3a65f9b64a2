//! A grade as people read it.
//!
//! ```text
//! 2A of mine: 12 of 14 points, 2 of 3 tests
//!   ok      initial_election_2A       5/5   20 seeds     0.08 s
//!   FAILED  vote_once_2A              0/2   seed 3 failed     0.01 s
//! ```

use std::fmt::Write as _;

use crate::grade::{Grade, Rule, TestGrade};

/// A number of points without a fraction that it does not have.
pub(crate) fn points(points: f64) -> String {
    if points.fract() == 0.0 { format!("{points:.0}") } else { format!("{points:.1}") }
}

pub(crate) fn scoreboard(grade: &Grade) -> String {
    let mut text = String::new();
    let width = grade.tests.iter().map(|test| test.test.len()).max().unwrap_or_default();
    let groups = grade.tests.chunk_by(TestGrade::is_of_same_part);
    for group in groups {
        let (earned, of): (f64, u32) =
            (group.iter().map(|test| test.points).sum(), group.iter().map(|test| test.of).sum());
        let ran = || group.iter().filter(|test| test.skipped.is_none());
        let passed = ran().filter(|test| test.failed == 0).count();
        let (package, part, count) = (&group[0].package, &group[0].part, ran().count());
        let earned = points(earned);
        let _ = writeln!(
            text,
            "{part} of {package}: {earned} of {of} points, {passed} of {count} tests"
        );
        group.iter().for_each(|test| score_line(&mut text, width, test));
        text.push('\n');
    }
    let Grade { seeds, world, .. } = grade;
    let rule = rule_in_words(grade.rule);
    let (earned, of) = (points(grade.points), grade.of);
    let _ = writeln!(
        text,
        "{earned} of {of} points, {} each in {world}; {rule}",
        counted(*seeds, "seed")
    );
    text
}

pub(crate) fn rule_in_words(rule: Rule) -> &'static str {
    match rule {
        Rule::All => "a test's points need all of its seeds",
        Rule::Share => "a test's points are shared by its seeds",
    }
}

fn score_line(text: &mut String, width: usize, test: &TestGrade) {
    let TestGrade { test: name, of, passed, failed, seconds, .. } = test;
    let _ = match (&test.skipped, failed) {
        (Some(reason), _) => writeln!(text, "  -       {name:<width$}  {reason}"),
        (None, 0) => writeln!(
            text,
            "  ok      {name:<width$}  {:>5}/{of:<2}  {:<20} {seconds:>8.2} s",
            points(test.points),
            counted(*passed, "seed"),
        ),
        (None, _) => writeln!(
            text,
            "  FAILED  {name:<width$}  {:>5}/{of:<2}  {:<20} {seconds:>8.2} s",
            points(test.points),
            seeds_in_words(test),
        ),
    };
}

/// `1 seed`, `2 seeds`.
fn counted(count: u64, thing: &str) -> String {
    if count == 1 { format!("1 {thing}") } else { format!("{count} {thing}s") }
}

/// Which seeds a test has failed on. One that has lost all its points is not run to the end, and
/// how far it came is chance.
pub(crate) fn seeds_in_words(test: &TestGrade) -> String {
    let TestGrade { passed, failed, first_failure, .. } = test;
    match first_failure {
        Some(first) if test.points == 0.0 => format!("seed {} failed", first.seed),
        _ => format!("{failed} of {} seeds failed", passed + failed),
    }
}
