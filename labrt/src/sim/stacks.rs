//! Stacks are used again: by the next thread of the same world, and by later worlds.

use corosensei::stack::DefaultStack;
use parking_lot::Mutex;

/// Address space for each stack; pages are used as they are touched.
const STACK_BYTES: usize = 512 * 1024;
/// Stacks kept for later worlds.
const STACKS_KEPT: usize = 1024;

static KEPT: Mutex<Vec<DefaultStack>> = Mutex::new(Vec::new());

/// The stacks of a world's threads that have ended.
#[derive(Default)]
pub(super) struct Stacks(Vec<DefaultStack>);

impl Stacks {
    pub(super) fn take(&mut self) -> DefaultStack {
        let kept = self.0.pop().or_else(|| KEPT.lock().pop());
        kept.unwrap_or_else(|| {
            DefaultStack::new(STACK_BYTES).unwrap_or_else(|error| {
                panic!("no memory for the stack of another simulated thread: {error}")
            })
        })
    }

    pub(super) fn give_back(&mut self, stack: DefaultStack) {
        self.0.push(stack);
    }
}

impl Drop for Stacks {
    fn drop(&mut self) {
        let mut kept = KEPT.lock();
        let room = STACKS_KEPT.saturating_sub(kept.len());
        kept.extend(self.0.drain(..).take(room));
    }
}
