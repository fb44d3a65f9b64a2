//! The map of the labs: get, put and append of strings.

use std::rc::Rc;

use crate::history::Operation;
use crate::model::{self, Model};
use crate::search::{self, Limits};
use crate::verdict::{Verdict, quote};
use crate::{history, zone};

/// A request to the key-value service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvInput {
    /// The key it is about.
    pub key: String,
    /// What to do with the key's value.
    pub action: KvAction,
}

/// What a request does with a key's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KvAction {
    /// Answer it.
    Get,
    /// Replace it.
    Put(String),
    /// Add to its end.
    Append(String),
}

/// An operation on the key-value service. A get's output is the value, empty if nobody wrote any;
/// a put's and an append's is `None`.
pub type KvOperation = Operation<KvInput, Option<String>>;

impl KvInput {
    /// What is the value of this key?
    pub fn get(key: impl Into<String>) -> Self {
        Self { key: key.into(), action: KvAction::Get }
    }

    /// Let this be the key's value.
    pub fn put(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self { key: key.into(), action: KvAction::Put(value.into()) }
    }

    /// Add this to the end of the key's value.
    pub fn append(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self { key: key.into(), action: KvAction::Append(value.into()) }
    }

    /// What is written, unless this is a get.
    pub(crate) fn token(&self) -> Option<&str> {
        match &self.action {
            KvAction::Get => None,
            KvAction::Put(value) | KvAction::Append(value) => Some(value),
        }
    }

    pub(crate) fn is_put(&self) -> bool {
        matches!(self.action, KvAction::Put(_))
    }
}

impl KvOperation {
    /// The value that a get read, if it returned.
    pub(crate) fn read(&self) -> Option<&str> {
        match (&self.input.action, &self.outcome) {
            (KvAction::Get, Some(outcome)) => Some(outcome.output.as_deref().unwrap_or_default()),
            _ => None,
        }
    }
}

/// Is the history linearizable? Each key is given to the zone engine, or, where that does not
/// know what a get saw, to the general one.
pub fn check(history: &[KvOperation]) -> Verdict {
    check_with(history, &Limits::default())
}

/// As [`check`], with other limits on the general engine's work.
pub fn check_with(history: &[KvOperation], limits: &Limits) -> Verdict {
    if let Some(fault) = history::fault(history) {
        return Verdict::Undecided(fault);
    }
    let parts = model::partition(history.iter().map(|op| op.input.key.as_str()));
    parts.iter().fold(Verdict::Linearizable, |verdict, ids| {
        verdict.and(|| {
            zone::check(history, ids)
                .unwrap_or_else(|| search::check_part(&Kv, history, ids, limits))
        })
    })
}

/// The map as a [`Model`], for the general engine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kv;

/// What a key holds, as far as anybody can tell.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KvValue {
    /// This value.
    Shown(Rc<str>),
    /// A value that is no beginning of anything that a get of the history read. Appends do not
    /// change that, no get fits, and a put ends it: so which value it is makes no difference.
    Hidden,
}

impl Model for Kv {
    type Key = String;
    type State = KvValue;
    type Input = KvInput;
    type Output = Option<String>;

    fn key(&self, input: &KvInput) -> String {
        input.key.clone()
    }

    fn init(&self) -> KvValue {
        KvValue::Shown("".into())
    }

    fn step(
        &self,
        state: &KvValue,
        input: &KvInput,
        output: Option<&Option<String>>,
    ) -> Option<KvValue> {
        let read = || output.map(|output| output.as_deref().unwrap_or_default());
        match (&input.action, state) {
            (KvAction::Put(value), _) => Some(KvValue::Shown(value.as_str().into())),
            (KvAction::Append(more), KvValue::Shown(value)) => {
                Some(KvValue::Shown([value, more.as_str()].concat().into()))
            }
            (KvAction::Append(_), KvValue::Hidden) => Some(KvValue::Hidden),
            (KvAction::Get, KvValue::Shown(value)) => {
                read().is_none_or(|read| *read == **value).then(|| state.clone())
            }
            (KvAction::Get, KvValue::Hidden) => read().is_none().then_some(KvValue::Hidden),
        }
    }

    fn is_read(&self, input: &KvInput) -> bool {
        input.action == KvAction::Get
    }

    fn merge(&self, state: KvValue, shown: &[&Option<String>]) -> KvValue {
        match &state {
            KvValue::Shown(value) if !begins_one(value, shown) => KvValue::Hidden,
            _ => state,
        }
    }

    /// A write that no get can have seen only hides what gets could see without it.
    fn matters(&self, input: &KvInput, shown: &[&Option<String>]) -> bool {
        match &input.action {
            KvAction::Get => false,
            KvAction::Put(value) => begins_one(value, shown),
            KvAction::Append(more) => {
                !more.is_empty() && shown.iter().any(|read| read.iter().any(|r| r.contains(more)))
            }
        }
    }

    /// After a write of unknown outcome that nobody can see, nothing can happen but puts, and
    /// appends nobody can see: these can happen without it.
    fn helps(&self, before: &KvValue, after: &KvValue) -> bool {
        before != after && *after != KvValue::Hidden
    }

    fn tell(&self, input: &KvInput, output: Option<&Option<String>>) -> String {
        let key = &input.key;
        match (&input.action, output) {
            (KvAction::Get, None) => format!("get {key}"),
            (KvAction::Get, Some(read)) => {
                format!("get {key} read {}", quote(read.as_deref().unwrap_or_default()))
            }
            (KvAction::Put(value), _) => format!("put {key} {}", quote(value)),
            (KvAction::Append(value), _) => format!("append {key} {}", quote(value)),
        }
    }

    fn tell_state(&self, state: &KvValue) -> String {
        match state {
            KvValue::Shown(value) => quote(value),
            KvValue::Hidden => "a value that no get shows".to_string(),
        }
    }
}

/// Whether a value is the beginning of one that was read. In the sorted outputs, those that begin
/// with it stand together, from the first that is not less than it.
fn begins_one(value: &str, shown: &[&Option<String>]) -> bool {
    let first = shown.partition_point(|&read| read.as_deref() < Some(value));
    let begins = |read: &&Option<String>| read.iter().any(|read| read.starts_with(value));
    value.is_empty() || shown.get(first).is_some_and(begins)
}
