//! What a server keeps on a disk, so that it survives being killed at any moment: the journal of
//! its Raft, or the state that the labs' persister saves, and the snapshot of its service.
//!
//! [`Store`] is a [`DiskBackend`](contract::DiskBackend) on any [`FileSystem`]: on a
//! [`Directory`] of the machine's, or on one that a test makes up, which forgets what was not
//! synced. It is the same code on both.
//!
//! # In the folder
//! | file | holds |
//! |---|---|
//! | `journal-N` | the records, in frames; the first of them says which snapshot they follow |
//! | `snapshot-N` | the service's snapshot, as it is |
//! | `*.new` | what is being written to become one of these |
//! | `LOCK` | nothing: who has it locked has the folder |
//!
//! N counts *epochs*. Within one, records are appended, and are durable once the file was synced;
//! whoever waits for that while another waits already shares the next sync (group commit). A new
//! epoch begins when everything is replaced: a new snapshot, a journal that is mostly garbage, or
//! a start.
//! Its files are written aside, synced, renamed, and the folder is synced, the journal last: with
//! that file's name the epoch begins, and before it the old one is whole. What the old one leaves
//! is removed then, or at the next start. So a start reads what is live, and little more.
//!
//! # Starting
//! The newest journal counts. Its torn tail is left out; damage in front of what was durable is
//! refused, with the file and the place ([`OpenError`]). How the two are told apart is in the
//! module `frame`. The snapshot is compared with the length and checksum that the journal has of
//! it. What was read begins a new epoch: it may have come from the system's cache alone, of a file
//! whose sync had failed, and only writing it anew makes sure.
//!
//! # A disk that fails
//! After a write or a sync has failed nobody knows what is on the disk, and asking again does not
//! tell: a system may report an error once and drop the pages. So the store takes nothing more
//! ([`DiskError`](contract::DiskError)) until it is opened anew and reads what is there. The
//! persister's `save` cannot say so: there the store stops the server, by the means it was given.
//!
//! # A disk that is lost
//! A server whose folder is gone must not come back under its old identity: it has voted and has
//! acknowledged entries that it does not know of any more, and a majority may have counted on it.
//! With an empty folder it would vote again in the same term, for another candidate, or be the
//! majority that elects a leader without a committed entry (Raft paper, section 5.4.1, assumes
//! stable storage; dissertation, section 11.7.3). It can join as a new member alone. The store
//! cannot know: an empty folder is a first start. Who starts servers can, and has to ask
//! ([`Directory::has_data`]).
//!
//! # Left out
//! Encryption, compression, and repair of what is damaged: there are other replicas. Journals of
//! several files: what would be dropped from the front of one is dropped by the next epoch. Direct
//! IO and files of a size set in advance, which make a sync of a growing file cheaper.

mod directory;
mod epoch;
mod error;
mod frame;
mod fs;
mod names;
mod store;

pub use directory::Directory;
pub use error::OpenError;
pub use fs::{File, FileSystem};
pub use store::Store;
