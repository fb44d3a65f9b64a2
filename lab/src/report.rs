//! A grade as other programs read it.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use serde_json::{Value, json};

use crate::grade::{Grade, TestGrade};
use crate::scoreboard::{points, seeds_in_words};

/// As Gradescope's autograder reads it: `results.json`, a score for each test.
pub(crate) fn gradescope(grade: &Grade) -> String {
    let tests: Vec<Value> = grade.tests.iter().map(gradescope_test).collect();
    let results = json!({
        "score": grade.points,
        "output": format!("{} seeds each, in {}", grade.seeds, grade.world),
        "tests": tests,
    });
    serde_json::to_string_pretty(&results).unwrap_or_default()
}

fn gradescope_test(test: &TestGrade) -> Value {
    json!({
        "name": test.test,
        "number": test.part,
        "score": test.points,
        "max_score": test.of,
        "status": if test.failed == 0 { "passed" } else { "failed" },
        "output": said(test),
    })
}

/// What a person is told of a test.
fn said(test: &TestGrade) -> String {
    let TestGrade { claim, paper, passed, .. } = test;
    let claim = format!("Claims: {claim} ({paper}).");
    match (&test.skipped, &test.first_failure) {
        (Some(reason), _) => format!("{claim} Not run: {reason}."),
        (None, None) => format!("{claim} {passed} seeds passed."),
        (None, Some(first)) => format!(
            "{claim} {}. Seed {}: {}\nTo have it again: {}",
            seeds_in_words(test),
            first.seed,
            first.message,
            first.replay
        ),
    }
}

/// As JUnit's XML: a suite for each part.
///
/// # Errors
/// In the library's words.
pub(crate) fn junit(grade: &Grade) -> Result<String, String> {
    let mut report = Report::new("lab grade");
    for part in grade.tests.chunk_by(TestGrade::is_of_same_part) {
        let mut suite = TestSuite::new(format!("{} {}", part[0].package, part[0].part));
        suite.set_time(Duration::from_secs_f64(part.iter().map(|test| test.seconds).sum()));
        suite.add_test_cases(part.iter().map(junit_test));
        report.add_test_suite(suite);
    }
    report.to_string().map_err(|error| error.to_string())
}

fn junit_test(test: &TestGrade) -> TestCase {
    let status = match (&test.skipped, &test.first_failure) {
        (Some(reason), _) => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(reason.as_str());
            status
        }
        (None, None) => TestCaseStatus::success(),
        (None, Some(first)) => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_message(first.message.as_str()).set_description(said(test));
            status
        }
    };
    let mut case = TestCase::new(test.test.as_str(), status);
    case.set_classname(test.package.as_str()).set_time(Duration::from_secs_f64(test.seconds));
    case.set_system_out(format!("{} of {} points", points(test.points), test.of));
    case
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grade::{FailureGrade, Rule};

    fn grade() -> Grade {
        let test = |name: &str, failed: u64, message: &str| TestGrade {
            test: name.to_string(),
            part: "2A".to_string(),
            package: "mine".to_string(),
            claim: "a leader is elected".to_string(),
            paper: "Raft §5.2".to_string(),
            points: if failed == 0 { 2.0 } else { 0.0 },
            of: 2,
            passed: 20 - failed,
            failed,
            seconds: 0.5,
            skipped: None,
            first_failure: (failed > 0).then(|| FailureGrade {
                seed: 7,
                message: message.to_string(),
                replay: "lab replay".to_string(),
            }),
        };
        let tests = vec![test("a_2A", 0, ""), test("b_2A", 3, "</failure> & \u{1b}[31m \u{0}")];
        Grade { world: "sim", seeds: 20, rule: Rule::All, points: 2.0, of: 4, tests }
    }

    #[test]
    fn what_code_under_test_says_cannot_break_out_of_the_xml() {
        let xml = junit(&grade()).expect("it can be written");
        assert!(xml.contains("&lt;/failure&gt; &amp; "), "{xml}");
        assert!(!xml.contains('\u{1b}') && !xml.contains('\u{0}'), "{xml}");
        assert!(xml.contains("tests=\"2\"") && xml.contains("failures=\"1\""), "{xml}");
    }

    #[test]
    fn gradescope_gets_a_score_for_each_test() {
        let results: Value = serde_json::from_str(&gradescope(&grade())).expect("it is JSON");
        assert_eq!(results["score"], 2.0);
        assert_eq!(results["tests"][1]["status"], "failed");
        assert_eq!(results["tests"][1]["max_score"], 2);
        let said = results["tests"][1]["output"].as_str().unwrap_or_default();
        assert!(said.contains("seed 7 failed. Seed 7: "), "{said}");
    }
}
