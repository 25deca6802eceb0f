//! What lies in a place: whose it is, and the sealed envelope.
//!
//! ```text
//! u32 length of key · u16 length of namespace · key · namespace · envelope
//! ```
//!
//! Key and namespace are there for those who walk over everything; the envelope's check is bound to both.

use super::super::envelope::{self, Envelope, Unreadable};
use std::ops::Range;

const LENGTHS: usize = 6;

/// Appends the part before the envelope; `None` if key or namespace is too long.
pub fn push_head(out: &mut Vec<u8>, namespace: &str, key: &str) -> Option<()> {
    let (keys, namespaces) = (u32::try_from(key.len()).ok()?, u16::try_from(namespace.len()).ok()?);
    out.extend(keys.to_le_bytes());
    out.extend(namespaces.to_le_bytes());
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(namespace.as_bytes());
    Some(())
}

/// Bytes of the head that begins like this.
pub fn head_length(record: &[u8]) -> Option<usize> {
    let (&[a, b, c, d, e, f], _) = record.split_first_chunk::<LENGTHS>()?;
    (u32::from_le_bytes([a, b, c, d]) as usize).checked_add(LENGTHS + usize::from(u16::from_le_bytes([e, f])))
}

/// Namespace and key of a record, or of as much of it as begins with its head.
pub fn names(record: &[u8]) -> Option<(&str, &str)> {
    let (namespace, key) = bytes(record)?;
    Some((std::str::from_utf8(namespace).ok()?, std::str::from_utf8(key).ok()?))
}

fn bytes(record: &[u8]) -> Option<(&[u8], &[u8])> {
    let keys = u32::from_le_bytes(*record.first_chunk::<4>()?) as usize;
    let (key, namespace) = record.get(LENGTHS..head_length(record)?)?.split_at_checked(keys)?;
    Some((namespace, key))
}

/// Where in the record of that key its envelope lies, which was checked and has that version. `None` if it is another's record, or damaged.
pub fn check(record: &[u8], namespace: &str, key: &str, version: u64) -> Option<Range<usize>> {
    if bytes(record)? != (namespace.as_bytes(), key.as_bytes()) {
        return None;
    }
    let range = head_length(record)?..record.len();
    let whole = envelope::check(&record[range.clone()], envelope::binding(namespace, key));
    // One of a newer forecache is left to the caller, who says so.
    match whole.and_then(|()| envelope::version(&record[range.clone()])) {
        Ok(found) if found != version => None,
        Ok(_) | Err(Unreadable::Newer) => Some(range),
        Err(Unreadable::Corrupt) => None,
    }
}

/// The envelope of a record of that version, whosever it is.
pub fn any(record: &[u8], version: u64) -> Option<(&str, &str, Envelope<'_>)> {
    let (namespace, key) = names(record)?;
    let range = check(record, namespace, key, version)?;
    Some((namespace, key, envelope::parse(&record[range]).ok()?))
}
