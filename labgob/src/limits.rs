//! What a decoder takes from strangers, at most.

/// Bounds on the bytes that a decoder accepts.
///
/// Bytes come from the network and from disks, so they may be damaged, cut short or made up. The
/// decoder needs no limit to stay within its input when it allocates memory; these bounds are for
/// what the input's own length does not bound.
///
/// ```
/// use labgob::{Limits, decode_with};
///
/// let strict = Limits { max_bytes: 4, ..Limits::default() };
/// let error = decode_with::<String>(b"\x05hello", &strict).expect_err("6 bytes are too many");
/// assert_eq!(
///     error.to_string(),
///     "the message is too long: at offset 4 it passes the limit of 4 bytes"
/// );
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest message, in bytes. Default: 64 MiB, far more than any lab's log or snapshot.
    pub max_bytes: usize,
    /// How many values may be nested in one another; structs, tuples, enums, `Some`s, newtypes,
    /// sequences and maps count one level each. Default: 64.
    pub max_depth: usize,
    /// How many elements of sequences and maps in one message may take no bytes at all, as those of
    /// a `Vec<()>` do. Default: 4096.
    pub max_empty_elements: usize,
}

impl Limits {
    /// What [`decode`](crate::decode) and [`Decoder::new`](crate::Decoder::new) use.
    pub const DEFAULT: Limits = Limits {
        max_bytes: 64 * 1024 * 1024,
        // Decoding recurses: in half of a simulated server's stack of 512 KiB that leaves 4 KiB a
        // level, which is enough even for a build without optimisation.
        max_depth: 64,
        // Nothing in the input pays for such an element, so that a claim of 2^60 of them would keep
        // the decoder busy for years.
        max_empty_elements: 4096,
    };
}

impl Default for Limits {
    fn default() -> Limits {
        Limits::DEFAULT
    }
}
