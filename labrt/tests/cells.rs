//! A cell that was made in a simulated world is that world's alone as long as it runs, and
//! anybody's afterwards: within it there is no lock that would keep another OS thread out.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use labrt::channel;
use labrt::sim::{Config, run};
use labrt::sync::Shared;

/// What an OS thread beside the world says of it.
fn on_another_os_thread<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let caught = || catch_unwind(AssertUnwindSafe(body)).ok();
    std::thread::spawn(caught).join().expect("panics are caught")
}

#[test]
fn a_cell_is_refused_to_others_while_its_world_runs_and_open_to_all_afterwards() {
    let outcome = run(&Config::new(1), || {
        let cell = Arc::new(Shared::new(1));
        let theirs = Arc::clone(&cell);
        let refused = on_another_os_thread(move || theirs.with(|number| *number += 10)).is_none();
        cell.with(|number| *number += 1);
        (cell, refused)
    });
    let (cell, refused) = outcome.result.expect("the run passes");
    assert!(refused);
    let theirs = Arc::clone(&cell);
    assert_eq!(on_another_os_thread(move || theirs.with(|number| *number += 1)), Some(()));
    assert_eq!(cell.with(|number| *number), 3);
}

#[test]
fn a_cell_used_inside_itself_fails_the_run() {
    let outcome = run(&Config::new(1), || {
        let cell = Shared::new(1);
        cell.with(|_| cell.with(|number| *number += 1));
    });
    let failure = outcome.result.expect_err("the inner use is refused");
    assert!(failure.to_string().contains("used inside itself"), "{failure}");
}

#[test]
fn ends_of_a_channel_may_be_dropped_anywhere_and_at_any_time() {
    let outcome = run(&Config::new(1), || {
        let (tx, rx) = channel::unbounded::<u32>();
        let theirs = tx.clone();
        assert_eq!(on_another_os_thread(move || drop(theirs)), Some(()));
        (tx, rx)
    });
    let (tx, rx) = outcome.result.expect("the run passes");
    assert_eq!(on_another_os_thread(move || drop(rx)), Some(()));
    drop(tx);
}
