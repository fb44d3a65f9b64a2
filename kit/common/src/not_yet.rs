//! How a part that is not written yet fails its tests: at once, and with what to do.

/// Ends the run: `part` is not written yet here, where this is called. Such a call stands wherever
/// your code comes, and goes when your code is there.
#[track_caller]
pub(crate) fn not_yet(part: &str, task: &str, paper: &str) -> ! {
    panic!("{part} is not written yet: {task} ({paper}), at `your code here ({part})`")
}
