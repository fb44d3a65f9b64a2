//! Frames survive every split into reads, and no bytes make the decoder panic, believe a damaged
//! frame, or set memory aside for what they merely claim.

use labrpc::tcp::frame::{self, Frame, FrameError, HEADER_BYTES, Kind, Refusal, Request, Splitter};
use proptest::collection::vec;
use proptest::prelude::*;

const LIMIT: u32 = 64 * 1024 * 1024;

/// Bytes of buffer per byte of input: it doubles when it is full.
const FACTOR: usize = 2;
/// The first room that a connection gets.
const CONSTANT_BYTES: usize = 4 * 1024;

type Owned = (Kind, u64, Vec<u8>);

fn any_kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        Just(Kind::Request),
        Just(Kind::Reply),
        Just(Kind::Error),
        Just(Kind::Ping),
        Just(Kind::Pong),
    ]
}

fn any_frame() -> impl Strategy<Value = Owned> {
    let body = prop_oneof![
        8 => vec(any::<u8>(), 0..100),
        1 => vec(any::<u8>(), 5_000..20_000),
    ];
    (any_kind(), any::<u64>(), body)
}

fn encode((kind, call, body): &Owned) -> Vec<u8> {
    let mut bytes = Vec::new();
    let frame = Frame { kind: *kind, call: *call, body };
    frame.encode(LIMIT, &mut bytes).expect("it is short enough");
    bytes
}

/// Gives a splitter up to `length` bytes of `rest`, as a read does.
fn feed(splitter: &mut Splitter, rest: &mut &[u8], length: usize) {
    let room = splitter.room();
    let (piece, others) = rest.split_at(length.min(rest.len()).min(room.len()));
    room[..piece.len()].copy_from_slice(piece);
    splitter.filled(piece.len());
    *rest = others;
}

/// What a splitter makes of a stream that comes in pieces of such lengths, over and over.
fn split(bytes: &[u8], pieces: &[usize]) -> Result<Vec<Owned>, FrameError> {
    let mut splitter = Splitter::new(LIMIT);
    let mut frames = Vec::new();
    let (mut rest, mut lengths) = (bytes, pieces.iter().cycle());
    while !rest.is_empty() {
        feed(&mut splitter, &mut rest, lengths.next().copied().unwrap_or(1));
        while let Some(Frame { kind, call, body }) = splitter.next_frame()? {
            frames.push((kind, call, body.to_vec()));
        }
    }
    splitter.finish()?;
    Ok(frames)
}

/// Reads `bytes` in every way there is. None may panic, and the buffer keeps to what has come.
fn assert_modest(bytes: &[u8]) {
    let _ = frame::decode(bytes, LIMIT);
    let _ = Request::decode(bytes);
    let _ = Refusal::decode(bytes);
    let mut splitter = Splitter::new(LIMIT);
    let mut rest = bytes;
    while !rest.is_empty() {
        feed(&mut splitter, &mut rest, 1000);
        while let Ok(Some(_)) = splitter.next_frame() {}
        let given = bytes.len() - rest.len();
        let (held, bound) = (splitter.room().len(), FACTOR * given + CONSTANT_BYTES);
        assert!(held <= bound, "{given} bytes have a buffer of {held} bytes, over {bound}");
    }
    let _ = splitter.finish();
}

/// A header that claims a body of `length` bytes, and some of that body.
fn claim(length: u32, body_bytes: usize) -> Vec<u8> {
    let mut bytes = encode(&(Kind::Request, 1, Vec::new()));
    bytes[6..10].copy_from_slice(&length.to_le_bytes());
    bytes.resize(HEADER_BYTES + body_bytes, 7);
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn frames_survive_every_split_into_reads(
        frames in vec(any_frame(), 0..8),
        pieces in vec(1_usize..6_000, 1..6),
    ) {
        let bytes: Vec<u8> = frames.iter().flat_map(encode).collect();
        prop_assert_eq!(split(&bytes, &pieces), Ok(frames.clone()));
        if bytes.len() < 2_000 {
            prop_assert_eq!(split(&bytes, &[1]), Ok(frames));
        }
    }

    #[test]
    fn a_stream_that_ends_within_a_frame_is_truncated(
        frames in vec(any_frame(), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let last = encode(&frames[frames.len() - 1]).len();
        let bytes: Vec<u8> = frames.iter().flat_map(encode).collect();
        let kept = 1 + cut.index(last - 1);
        let bytes = &bytes[..bytes.len() - last + kept];
        prop_assert_eq!(split(bytes, &[700]), Err(FrameError::Truncated { bytes: kept }));
    }

    #[test]
    fn a_flipped_bit_never_makes_another_frame(frame in any_frame(), bit in any::<usize>()) {
        let mut bytes = encode(&frame);
        let bit = bit % (bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        let decoded = frame::decode(&bytes, LIMIT);
        // A longer length may have it wait for more.
        prop_assert!(matches!(decoded, Err(_) | Ok(None)), "bit {} of {:?}", bit, decoded);
        assert_modest(&bytes);
    }

    #[test]
    fn arbitrary_bytes_are_no_frame(bytes in vec(any::<u8>(), 0..3_000)) {
        assert_modest(&bytes);
        prop_assert!(!matches!(frame::decode(&bytes, LIMIT), Ok(Some(_))));
    }

    #[test]
    fn bytes_that_look_like_a_frame_take_no_memory_either(
        tail in vec(any::<u8>(), 0..200),
        keep in 0..=HEADER_BYTES,
    ) {
        let mut bytes = encode(&(Kind::Request, 1, Vec::new()));
        bytes.truncate(keep);
        bytes.extend(tail);
        assert_modest(&bytes);
    }

    #[test]
    fn requests_and_refusals_come_back_as_they_were(
        service in ".{0,20}",
        method in ".{0,20}",
        args in vec(any::<u8>(), 0..100),
        why in ".{0,20}",
    ) {
        let request = Request { service: &service, method: &method, args: &args };
        let body = request.encode().expect("bytes can be encoded");
        prop_assert_eq!(Request::decode(&body), Ok(request));
        let refusal = Refusal::BadArguments(why);
        let body = refusal.encode().expect("strings can be encoded");
        prop_assert_eq!(Refusal::decode(&body), Ok(refusal));
    }
}

#[test]
fn a_claimed_length_takes_no_memory() {
    for length in [1 << 20, 1 << 25, LIMIT] {
        for body_bytes in [0, 1, 10_000, 500_000] {
            assert_modest(&claim(length, body_bytes));
        }
    }
}

#[test]
fn what_is_wrong_is_told_as_soon_as_the_bytes_show_it() {
    let good = encode(&(Kind::Request, 1, vec![7; 10]));
    let with = |at: usize, byte: u8| {
        let mut bytes = good[..=at].to_vec();
        bytes[at] = byte;
        frame::decode(&bytes, 1000).map(|frame| frame.is_some())
    };
    assert_eq!(with(0, b'G'), Err(FrameError::WrongMagic));
    assert_eq!(with(3, b'X'), Err(FrameError::WrongMagic));
    assert_eq!(with(4, 0), Err(FrameError::UnknownVersion(0)));
    assert_eq!(with(5, 0), Err(FrameError::UnknownKind(0)));
    assert_eq!(with(21, 0), Ok(false));
    let too_large = FrameError::TooLarge { bytes: 1001, limit: 1000 };
    assert_eq!(frame::decode(&claim(1001, 0), 1000), Err(too_large));
    let mut out = vec![1];
    let frame = Frame { kind: Kind::Reply, call: 1, body: &[0; 1001] };
    assert_eq!(frame.encode(1000, &mut out), Err(too_large));
    assert_eq!(out, [1], "nothing was appended");
}

#[test]
fn the_layout_is_as_it_is_documented() {
    let bytes = encode(&(Kind::Reply, 0x0102_0304_0506_0708, b"yes".to_vec()));
    assert_eq!(bytes[..10], *b"LRPC\x01\x02\x03\0\0\0");
    assert_eq!(bytes[10..18], [8, 7, 6, 5, 4, 3, 2, 1]);
    let covered = [&bytes[..18], &bytes[22..]].concat();
    assert_eq!(bytes[18..22], crc32c::crc32c(&covered).to_le_bytes());
    assert_eq!(bytes[22..], *b"yes");
}

/// A peer may not hold a long frame's room with the first byte of the next one.
#[test]
fn the_room_of_a_long_frame_goes_with_it_and_is_no_more_than_the_longest_needs() {
    const LONGEST: u32 = 5_000_000;
    let mut splitter = Splitter::new(LONGEST);
    let long = encode(&(Kind::Ping, 1, vec![7; LONGEST as usize]));
    for _ in 0..3 {
        let mut rest = &long[..];
        while rest.len() > 100 {
            let piece = 60_000.min(rest.len() - 100);
            feed(&mut splitter, &mut rest, piece);
            assert_eq!(splitter.next_frame(), Ok(None));
        }
        let held = splitter.long_frame_bytes();
        assert!((long.len() - 100..=long.len()).contains(&held), "{held} of {}", long.len());
        let bytes = [rest, &long[..1]].concat();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            feed(&mut splitter, &mut rest, 101);
        }
        assert!(splitter.next_frame().is_ok_and(|frame| frame.is_some()));
        assert_eq!((splitter.long_frame_bytes(), splitter.pending_bytes()), (0, 1));
        assert!(splitter.room().len() < 200_000, "the next frame's byte keeps all that room");
        // The rest of it, so that the next round begins with a whole frame.
        let mut rest = &long[1..];
        while !rest.is_empty() {
            feed(&mut splitter, &mut rest, 60_000);
        }
        assert!(splitter.next_frame().is_ok_and(|frame| frame.is_some()));
    }
}
