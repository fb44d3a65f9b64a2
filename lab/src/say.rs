//! Standard output, whose reader may leave at any time: `lab grade | head`.

use std::fmt::Display;
use std::io::{self, Write as _};
use std::process;

/// What a shell says of a program that a closed pipe has ended.
const CLOSED_PIPE_EXIT_STATUS: i32 = 141;

/// Prints, or ends the program if nobody listens any more.
pub(crate) fn say(text: impl Display) {
    let mut out = io::stdout().lock();
    if let Err(error) = write!(out, "{text}").and_then(|()| out.flush()) {
        if error.kind() != io::ErrorKind::BrokenPipe {
            eprintln!("error: nothing can be printed: {error}");
        }
        process::exit(CLOSED_PIPE_EXIT_STATUS);
    }
}
