//! How a part that is not written yet fails its tests: at once, and with what to do.

use std::panic::Location;

/// Ends the run: `part` is not written yet here, where this is called. Each call to this stands
/// where your code comes; it goes when your code is there.
#[track_caller]
pub(crate) fn not_yet(part: &str, task: &str, paper: &str) -> ! {
    let here = Location::caller();
    let (file, line) = (here.file(), here.line());
    panic!("{part} is not written yet: {task}, at `your code here ({part})`, {file}:{line}; {paper}")
}
