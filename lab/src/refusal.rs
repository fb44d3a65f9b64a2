//! What a person is told when a command cannot be carried out.

/// A sentence, or a few: what is wrong, where, and what to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal(pub(crate) String);

impl Refusal {
    pub(crate) fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }
}

/// For `map_err`: what could not be done, and why.
pub(crate) fn because<E: std::fmt::Display>(what: impl Into<String>) -> impl FnOnce(E) -> Refusal {
    let what = what.into();
    move |error| Refusal(format!("{what}: {error}"))
}
