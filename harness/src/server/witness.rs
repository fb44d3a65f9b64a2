//! Who is told what a server's program sees.

use std::sync::Arc;

use contract::{ApplyMsg, Index, Term};

use super::service::Snapshot;
use crate::oracle::Oracle;

/// Is told what one incarnation of a server does. Nothing here waits for anybody.
pub(crate) trait Witness: Send + Sync {
    /// Has a look at the node's term and role.
    fn look(&self, get_state: &dyn Fn() -> (Term, bool));

    /// The service was handed a message.
    fn note_applied(&self, message: &ApplyMsg);

    /// The service's state is now this snapshot, which is to stand for everything up to `index`.
    fn note_installed(&self, index: Index, snapshot: &Snapshot);
}

/// The oracle, where the server's threads are threads of its own process.
pub(super) struct Present {
    pub(super) oracle: Arc<Oracle>,
    pub(super) server: usize,
    pub(super) incarnation: u64,
}

impl Witness for Present {
    fn look(&self, get_state: &dyn Fn() -> (Term, bool)) {
        let Self { oracle, server, incarnation } = self;
        let reading = oracle.begin_read(*server, *incarnation);
        let (term, leader) = get_state();
        reading.ends(term, leader);
    }

    fn note_applied(&self, message: &ApplyMsg) {
        self.oracle.note_applied(self.server, self.incarnation, message);
    }

    fn note_installed(&self, index: Index, snapshot: &Snapshot) {
        self.oracle.note_installed(self.server, self.incarnation, index, snapshot);
    }
}
