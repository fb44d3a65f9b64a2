//! Why a folder cannot be used.

use std::error::Error;
use std::fmt;
use std::io;

/// A server cannot start on this folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenError {
    /// Which file or folder.
    place: String,
    problem: Problem,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Problem {
    InUse,
    System { tried: &'static str, reason: String },
    Damaged(String),
}

impl OpenError {
    pub(crate) fn in_use(place: &str) -> Self {
        Self { place: place.to_owned(), problem: Problem::InUse }
    }

    pub(crate) fn io(tried: &'static str, place: &str, error: &io::Error) -> Self {
        let reason = error.to_string();
        Self { place: place.to_owned(), problem: Problem::System { tried, reason } }
    }

    pub(crate) fn damaged(place: String, how: impl fmt::Display) -> Self {
        Self { place, problem: Problem::Damaged(how.to_string()) }
    }

    /// Whether bytes are not those that were written, so that only a person can help.
    pub fn is_damage(&self) -> bool {
        matches!(self.problem, Problem::Damaged(_))
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = &self.place;
        match &self.problem {
            Problem::InUse => write!(f, "{place} is in use by another server that still runs"),
            Problem::System { tried, reason } => write!(f, "cannot {tried} {place}: {reason}"),
            Problem::Damaged(how) => write!(
                f,
                "{place}: {how}. Entries that this server has acknowledged may be lost, so it does \
                 not start: keep the folder, and bring the server back from a copy of it, or under \
                 a new identity"
            ),
        }
    }
}

impl Error for OpenError {}
