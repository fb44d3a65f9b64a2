//! A grade as other programs read it.

use serde_json::{Value, json};

use crate::grade::{Grade, TestGrade, points};

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
    let TestGrade { claim, paper, passed, failed, .. } = test;
    let claim = format!("Claims: {claim} ({paper}).");
    match (&test.skipped, &test.first_failure) {
        (Some(reason), _) => format!("{claim} Not run: {reason}."),
        (None, None) => format!("{claim} {passed} seeds passed."),
        (None, Some(first)) => format!(
            "{claim} {failed} of {} seeds failed; seed {}: {}\nTo have it again: {}",
            passed + failed,
            first.seed,
            first.message,
            first.replay
        ),
    }
}

/// As JUnit's XML, in the form that continuous integration understands: a suite for each part.
pub(crate) fn junit(grade: &Grade) -> String {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for part in grade.tests.chunk_by(|a, b| (&a.package, &a.part) == (&b.package, &b.part)) {
        let name = escaped(&format!("{} {}", part[0].package, part[0].part));
        let count = |wanted: fn(&&TestGrade) -> bool| part.iter().filter(wanted).count();
        let failures = count(|test| test.failed > 0);
        let skipped = count(|test| test.skipped.is_some());
        let seconds: f64 = part.iter().map(|test| test.seconds).sum();
        xml += &format!(
            "  <testsuite name=\"{name}\" tests=\"{}\" failures=\"{failures}\" errors=\"0\" \
             skipped=\"{skipped}\" time=\"{seconds:.3}\">\n",
            part.len()
        );
        part.iter().for_each(|test| xml += &junit_test(test));
        xml += "  </testsuite>\n";
    }
    xml + "</testsuites>\n"
}

fn junit_test(test: &TestGrade) -> String {
    let (name, package) = (escaped(&test.test), escaped(&test.package));
    let inner = match (&test.skipped, &test.first_failure) {
        (Some(reason), _) => format!("      <skipped message=\"{}\"/>\n", escaped(reason)),
        (None, None) => String::new(),
        (None, Some(first)) => format!(
            "      <failure message=\"{}\">{}</failure>\n",
            escaped(&first.message),
            escaped(&said(test))
        ),
    };
    format!(
        "    <testcase name=\"{name}\" classname=\"{package}\" time=\"{:.3}\">\n{inner}      \
         <system-out>{} of {} points</system-out>\n    </testcase>\n",
        test.seconds,
        points(test.points),
        test.of
    )
}

/// Text as XML allows it: what code under test says may hold any character.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        match character {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\n' | '\t' => escaped.push(character),
            character if character.is_control() => escaped.push('\u{fffd}'),
            character => escaped.push(character),
        }
    }
    escaped
}
