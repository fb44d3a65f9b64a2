//! What was written to a key, such that a value tells which writes made it.

use crate::kv::KvOperation;

/// The tokens written to one key, sorted.
pub(super) struct Tokens<'h> {
    sorted: Vec<Token<'h>>,
}

/// A write: what it wrote, and its place among the operations on the key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Token<'h> {
    pub(super) text: &'h str,
    pub(super) place: u32,
}

impl<'h> Tokens<'h> {
    /// `None` if a value might be made in two ways: by an empty token, by two equal ones, or,
    /// where there are appends, by one that begins like another.
    pub(super) fn new(history: &'h [KvOperation], ids: &[u32]) -> Option<Self> {
        let mut appends = false;
        let mut sorted = Vec::new();
        for (place, &id) in (0..).zip(ids) {
            let input = &history[id as usize].input;
            let Some(text) = input.token() else { continue };
            appends |= !input.is_put();
            sorted.push(Token { text, place });
        }
        sorted.sort_unstable();
        // All that begin with a token stand right behind it.
        let ambiguous = |pair: &[Token<'_>]| {
            pair[0].text == pair[1].text || appends && pair[1].text.starts_with(pair[0].text)
        };
        let empty = sorted.first().is_some_and(|token| token.text.is_empty());
        (!empty && !sorted.windows(2).any(ambiguous)).then_some(Self { sorted })
    }

    /// The token that `text` begins with. It is the greatest that is not greater than `text`: one
    /// between the two would begin with it.
    pub(super) fn first_of(&self, text: &str) -> Option<Token<'h>> {
        let behind = self.sorted.partition_point(|token| token.text <= text);
        let token = self.sorted[..behind].last()?;
        text.starts_with(token.text).then_some(*token)
    }

    /// All writes, in no order that means anything.
    pub(super) fn all(&self) -> impl Iterator<Item = Token<'h>> + '_ {
        self.sorted.iter().copied()
    }
}
