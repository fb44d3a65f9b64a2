//! Was it as if one server had answered, one request at a time?

mod history;
mod kv;
mod model;
mod search;
mod shrink;
mod verdict;
mod zone;

pub use history::{OpId, Operation, Outcome, Recorder};
pub use kv::{Kv, KvAction, KvInput, KvOperation, KvValue, check, check_with};
pub use model::Model;
pub use search::{Limits, check_model};
pub use verdict::{Clash, Verdict};
