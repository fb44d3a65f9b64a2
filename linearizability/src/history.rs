//! Histories: what clients asked, when, and what they were told.

// Nothing is called with the lock held, and nobody waits for anything else meanwhile: a simulated
// world, in which one thread runs at a time, can use this lock as well as the operating system's.
#[allow(clippy::disallowed_types)]
use std::sync::Mutex;
use std::sync::{MutexGuard, PoisonError};

/// What a client did: one call, and its return if there was one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation<I, O> {
    /// Who called. It serves the telling alone: clients may have several calls under way.
    pub client: u64,
    /// What was asked for.
    pub input: I,
    /// When it was called.
    pub call_ns: u64,
    /// When it returned, and with what. `None`: it never did, and nobody knows whether it took
    /// effect, or will.
    pub outcome: Option<Outcome<O>>,
}

/// The end of an [`Operation`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome<O> {
    /// When the call returned.
    pub return_ns: u64,
    /// What it returned.
    pub output: O,
}

impl<I, O> Operation<I, O> {
    /// An operation that returned.
    pub fn returned(client: u64, input: I, call_ns: u64, return_ns: u64, output: O) -> Self {
        Self { client, input, call_ns, outcome: Some(Outcome { return_ns, output }) }
    }

    /// An operation of unknown outcome.
    pub fn unknown(client: u64, input: I, call_ns: u64) -> Self {
        Self { client, input, call_ns, outcome: None }
    }

    /// The moment of the call, as the engines count.
    pub(crate) fn call(&self) -> i64 {
        i64::try_from(self.call_ns).unwrap_or(NEVER)
    }

    /// The moment of the return, which for an unknown outcome is later than every call.
    pub(crate) fn ret(&self) -> i64 {
        self.outcome.as_ref().map_or(NEVER, |o| i64::try_from(o.return_ns).unwrap_or(NEVER))
    }
}

/// The return of a call that did not return.
pub(crate) const NEVER: i64 = i64::MAX;

/// What is wrong with the times of a history, if anything: then no engine looks at it.
pub(crate) fn fault<I, O>(history: &[Operation<I, O>]) -> Option<String> {
    if history.len() >= u32::MAX as usize / 2 {
        return Some(format!("{} operations are more than can be numbered", history.len()));
    }
    history.iter().enumerate().find_map(|(id, op)| {
        let end = op.outcome.as_ref().map_or(op.call_ns, |o| o.return_ns);
        if end < op.call_ns {
            Some(format!("operation #{id} returned at {end}, before its call at {}", op.call_ns))
        } else if end >= NEVER as u64 {
            Some(format!("operation #{id} has the time {end}; times must be below 2^63 - 1"))
        } else {
            None
        }
    })
}

/// Takes down a history while it happens, from any number of threads.
///
/// It has no clock. Who calls says when, by the clock of the world the clients live in. That clock
/// must be one for all clients; read it *before* a request is sent, and again *after* its answer
/// has come: an interval too long only makes the checker more lenient, one too short makes it
/// complain without cause.
///
/// ```
/// use linearizability::{KvInput, Recorder, Verdict, check};
///
/// let recorder = Recorder::new();
/// let put = recorder.call(1, KvInput::put("x", "a"), 10);
/// let get = recorder.call(2, KvInput::get("x"), 15);
/// recorder.ret(get, 18, Some("a".to_string()));
/// recorder.ret(put, 20, None);
/// assert_eq!(check(&recorder.into_history()), Verdict::Linearizable);
/// ```
#[derive(Debug)]
pub struct Recorder<I, O> {
    #[allow(clippy::disallowed_types)]
    operations: Mutex<Vec<Operation<I, O>>>,
}

/// A call that a [`Recorder`] has taken down: its place in the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OpId(usize);

impl OpId {
    /// The operation's index in the history.
    pub fn index(self) -> usize {
        self.0
    }
}

impl<I, O> Recorder<I, O> {
    /// A recorder with nothing in it.
    pub fn new() -> Self {
        Self { operations: Default::default() }
    }

    /// A client is about to send a request. Until [`Recorder::ret`], its outcome is unknown.
    pub fn call(&self, client: u64, input: I, call_ns: u64) -> OpId {
        let mut operations = self.lock();
        operations.push(Operation::unknown(client, input, call_ns));
        OpId(operations.len() - 1)
    }

    /// The answer has come.
    ///
    /// # Panics
    ///
    /// If the call has returned already, or not yet been made at that time: one of the caller's
    /// clocks or ids is wrong, and so would be every verdict.
    pub fn ret(&self, id: OpId, return_ns: u64, output: O) {
        let mut operations = self.lock();
        let operation = &mut operations[id.0];
        let call_ns = operation.call_ns;
        assert!(operation.outcome.is_none(), "operation #{} returns a second time", id.0);
        assert!(return_ns >= call_ns, "a call made at {call_ns} cannot return at {return_ns}");
        operation.outcome = Some(Outcome { return_ns, output });
    }

    /// The history. What has not returned has an unknown outcome.
    pub fn into_history(self) -> Vec<Operation<I, O>> {
        self.operations.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// The history so far.
    pub fn history(&self) -> Vec<Operation<I, O>>
    where
        Operation<I, O>: Clone,
    {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Operation<I, O>>> {
        self.operations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<I, O> Default for Recorder<I, O> {
    fn default() -> Self {
        Self::new()
    }
}
