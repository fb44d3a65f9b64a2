//! What is kept of a panic's text, which code under test may make as long as it likes.

use std::panic::{catch_unwind, panic_any};

use labrt::sim::{Config, run};
use labrt::thread::panic_text;

/// So much of a text is kept.
const KEPT: usize = 64 << 10;

/// What is kept of what a panic on this thread says.
fn kept(text: String) -> String {
    panic_text(&*catch_unwind(|| panic_any(text)).expect_err("it panics"))
}

#[test]
fn a_panics_text_is_kept_up_to_its_limit_and_behind_that_counted() {
    assert_eq!(kept("x".repeat(KEPT)), "x".repeat(KEPT));
    let cut = format!("{}... (3000000 more bytes)", "x".repeat(KEPT));
    assert_eq!(kept("x".repeat(KEPT + 3_000_000)), cut);
    // No letter is cut in two.
    let cut = format!("x{}... (4 more bytes)", "ü".repeat(KEPT / 2 - 1));
    assert_eq!(kept(format!("x{}", "ü".repeat(KEPT / 2 + 1))), cut);
}

#[test]
fn in_a_simulated_world_no_more_is_kept() {
    let outcome = run(&Config::new(1), || panic!("{}", "x".repeat(KEPT + 3_000_000)));
    let failure = outcome.result.expect_err("it panics");
    let beginning = format!("{}... (3000000 more bytes)", "x".repeat(KEPT));
    assert!(failure.message.starts_with(&beginning), "{} bytes", failure.message.len());
    assert!(failure.message.len() < KEPT + 1_000, "{} bytes", failure.message.len());
}
