//! Histories in files: JSON lines, as the chapter in `lib.rs` describes them.

use std::fmt;
use std::io::BufRead;

use serde::{Deserialize, Serialize};

use crate::history::Operation;
use crate::kv::{KvAction, KvInput, KvOperation};

/// What is wrong with a file, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormatError {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong with it, and what it should be.
    pub problem: String,
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.problem)
    }
}

impl std::error::Error for FormatError {}

/// Reads a history, an operation a line. Empty lines are skipped.
pub fn read_history(mut file: impl BufRead) -> Result<Vec<KvOperation>, FormatError> {
    let mut history = Vec::new();
    let mut text = Vec::new();
    for line in 1.. {
        text.clear();
        let fault = |problem| FormatError { line, problem };
        let count = file
            .read_until(b'\n', &mut text)
            .map_err(|error| fault(format!("cannot be read: {error}")))?;
        if count == 0 {
            break;
        }
        if !text.trim_ascii().is_empty() {
            history.push(read_operation(&text).map_err(fault)?);
        }
    }
    Ok(history)
}

/// A history as [`read_history`] reads it.
pub fn write_history(history: &[KvOperation]) -> String {
    let line = |op| serde_json::to_string(&Line::of(op)).expect("strings and numbers are JSON");
    history.iter().map(|op| line(op) + "\n").collect()
}

/// One line, before it is known to make sense.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    client: u64,
    op: Op,
    key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    output: Option<String>,
    call: u64,
    #[serde(rename = "return")]
    ret: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Op {
    Get,
    Put,
    Append,
}

fn read_operation(text: &[u8]) -> Result<KvOperation, String> {
    let line: Line = serde_json::from_slice(text.trim_ascii()).map_err(|error| {
        // Serde counts lines within this one: its "at line 1" would mislead.
        let error = error.to_string().replace(" at line 1 column", ", at column");
        format!(
            "{error}; a line should be like {}",
            r#"{"client":1,"op":"put","key":"x","value":"a","call":10,"return":20}"#
        )
    })?;
    line.operation()
}

impl Line {
    fn of(op: &KvOperation) -> Self {
        let (kind, value) = match &op.input.action {
            KvAction::Get => (Op::Get, None),
            KvAction::Put(value) => (Op::Put, Some(value.clone())),
            KvAction::Append(value) => (Op::Append, Some(value.clone())),
        };
        Self {
            client: op.client,
            op: kind,
            key: op.input.key.clone(),
            value,
            output: op.read().map(str::to_string),
            call: op.call_ns,
            ret: op.outcome.as_ref().map(|outcome| outcome.return_ns),
        }
    }

    fn operation(self) -> Result<KvOperation, String> {
        let action = match (self.op, self.value) {
            (Op::Get, None) => KvAction::Get,
            (Op::Put, Some(value)) => KvAction::Put(value),
            (Op::Append, Some(value)) => KvAction::Append(value),
            (Op::Get, Some(_)) => return Err("a get has no \"value\", but an \"output\"".into()),
            (_, None) => return Err("a put or append needs a \"value\", what it writes".into()),
        };
        let input = KvInput { key: self.key, action };
        let is_get = input.action == KvAction::Get;
        match (self.ret, &self.output) {
            (Some(_), None) if is_get => {
                return Err("a get that returned needs an \"output\", what it read".into());
            }
            (None, Some(_)) => return Err("an \"output\" needs a time of \"return\"".into()),
            (_, Some(_)) if !is_get => return Err("only a get has an \"output\"".into()),
            _ => {}
        }
        let Some(ret) = self.ret else {
            return Ok(Operation::unknown(self.client, input, self.call));
        };
        if ret < self.call {
            let call = self.call;
            return Err(format!(
                "\"return\" is {ret}, and should be at least {call}, the \"call\""
            ));
        }
        Ok(Operation::returned(self.client, input, self.call, ret, self.output))
    }
}
