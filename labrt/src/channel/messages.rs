//! What waits in a channel of a simulated world.

use std::collections::VecDeque;

/// Messages in their order, each with its ticket. Most channels hold one at a time, and many see
/// only one ever (the answer to a call), so the first has its place here, without an allocation.
pub(super) struct Messages<T> {
    /// None only if there are no others either.
    first: Option<(u64, T)>,
    others: VecDeque<(u64, T)>,
}

impl<T> Default for Messages<T> {
    fn default() -> Self {
        Self { first: None, others: VecDeque::new() }
    }
}

impl<T> Messages<T> {
    pub(super) fn push(&mut self, ticket: u64, message: T) {
        match self.first {
            None => self.first = Some((ticket, message)),
            Some(_) => self.others.push_back((ticket, message)),
        }
    }

    /// Where the message with this ticket is.
    pub(super) fn position(&self, ticket: u64) -> Option<usize> {
        self.first.iter().chain(&self.others).position(|&(other, _)| other == ticket)
    }

    pub(super) fn remove(&mut self, index: usize) -> Option<T> {
        let removed = match index.checked_sub(1) {
            None => std::mem::replace(&mut self.first, self.others.pop_front()),
            Some(index) => self.others.remove(index),
        };
        removed.map(|(_, message)| message)
    }

    pub(super) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.others.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_in_order_wherever_one_is_withdrawn() {
        for withdrawn in 0..4 {
            let mut messages = Messages::default();
            (0..4).for_each(|ticket| messages.push(ticket, ticket));
            let index = messages.position(withdrawn).expect("it was pushed");
            assert_eq!(messages.remove(index), Some(withdrawn));
            messages.push(4, 4);
            assert_eq!((messages.position(withdrawn), messages.len()), (None, 4));
            let left: Vec<u64> = std::iter::from_fn(|| messages.remove(0)).collect();
            assert_eq!(left, (0..5).filter(|&ticket| ticket != withdrawn).collect::<Vec<_>>());
            assert!(messages.is_empty());
        }
    }
}
