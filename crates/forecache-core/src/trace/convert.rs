//! Writes any trace in our own format, with its keys hashed if it is to be shared.

use super::secret::Secret;
use super::{Facts, Key, Row, Trace, TraceError, create};
use std::borrow::Cow;
use std::path::Path;

/// Writes `trace` at `target`. With a `secret`, keys and owners become hashes; what else the trace says stays, but for the sizes of
/// pages and of a device, which nothing can be said of any more. A `description` replaces the one that is there.
pub fn convert(trace: &Trace, target: &Path, secret: Option<&Secret>, description: Option<&str>) -> Result<(), TraceError> {
    let mut facts = trace.facts.clone();
    if let Some(description) = description {
        facts.description = description.into();
    }
    if secret.is_some() {
        facts = Facts { hashed: true, page_size: 0, device_size: 0, ..facts };
    }
    let texts = !trace.is_numeric() && secret.is_none();
    create(target, &facts, texts, |writer| {
        (0..trace.len()).try_for_each(|number| {
            let row = trace.row(number);
            let key = secret.map_or(row.key, |secret| Key::Number(secret.hash(row.key.text().as_bytes())));
            let owner = secret.map_or(Cow::Borrowed(row.owner), |secret| secret.hashed_owner(row.owner).into());
            let written = writer.push(&Row { key, owner: &owner, ..row });
            written.map_err(|error| TraceError::whole(target, format!("row {number} can't be written: {error}")))
        })
    })
}
