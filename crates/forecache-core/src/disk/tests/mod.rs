//! Tests of directories; here is what they stand on.

mod entries;
mod full;
mod harm;
mod model;
mod read_only;

use super::*;
use crate::compress::Algorithm;
use crate::envelope::{Fields, NEVER};
use proptest::prelude::*;
use std::collections::HashMap;
use std::os::unix::fs::{FileExt, MetadataExt};

const NOW: u64 = 1_577_836_800_000;
const CAPACITY: u64 = LEAST_CAPACITY;

fn open_with(path: &Path, change: impl FnOnce(&mut Options)) -> Disk {
    let mut options = Options { policy: "lru".into(), seed: Some(7), ..Options::new(CAPACITY) };
    change(&mut options);
    Disk::open(path, options).unwrap()
}

fn open(path: &Path) -> Disk {
    open_with(path, |_| {})
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn item<'a>(key: &'a str, payload: &'a [u8]) -> Item<'a> {
    Item { key, codec: 3, fields: Fields::default(), payload, mark: 0 }
}

fn set(disk: &Disk, key: &str, payload: &[u8]) -> bool {
    put(disk, &item(key, payload), false)
}

/// Whether it was taken.
fn put(disk: &Disk, item: &Item, absent: bool) -> bool {
    disk.set_many(std::slice::from_ref(item), NOW, absent, true).unwrap().unwrap().is_empty()
}

fn get_at(disk: &Disk, key: &str, now: u64) -> Option<(Vec<u8>, u64)> {
    match disk.read(key, now, usize::MAX, &mut Vec::new()).unwrap() {
        Read::Entry(envelope, _) => Some((envelope.unpack().unwrap(), envelope.fields.version)),
        Read::Miss => None,
        Read::Longer(_) => panic!("nothing is longer than that"),
    }
}

fn get(disk: &Disk, key: &str) -> Option<Vec<u8>> {
    get_at(disk, key, NOW).map(|(payload, _)| payload)
}

fn delete(disk: &Disk, key: &str) -> bool {
    !disk.delete_many(&[key], NOW, true).unwrap().unwrap().is_empty()
}

fn keys(disk: &Disk) -> Vec<String> {
    let (mut all, mut cursor) = (Vec::new(), Some(0));
    while let Some(from) = cursor {
        let (next, keys) = disk.scan(from, 50, None, NOW).unwrap();
        all.extend(keys);
        cursor = next;
    }
    all.sort();
    all
}

/// Bytes of disk behind all files, as the system says.
fn on_disk(path: &Path) -> u64 {
    let inside = std::fs::read_dir(path).unwrap().flatten();
    let below =
        inside.map(|entry| if entry.path().is_dir() { on_disk(&entry.path()) } else { entry.metadata().unwrap().blocks() * 512 });
    below.sum::<u64>() + std::fs::metadata(path).unwrap().blocks() * 512
}

/// Bytes that compress badly and tell which they are.
fn noise(length: usize, number: u64) -> Vec<u8> {
    (0..length.div_ceil(8) as u64)
        .flat_map(|at| xxhash_rust::xxh3::xxh3_64_with_seed(&at.to_le_bytes(), number).to_le_bytes())
        .take(length)
        .collect()
}

/// Sums, owners and files say the same as the entries.
fn assert_whole(disk: &Disk) {
    let before = disk.info().unwrap();
    let mut writing = disk.waiting().unwrap();
    writing.repair().unwrap();
    drop(writing);
    let after = disk.info().unwrap();
    assert_eq!((before.entries, &before.namespaces), (after.entries, &after.namespaces));
    // A repair cuts free ends off.
    assert!(after.bytes <= before.bytes, "{} > {}", after.bytes, before.bytes);
    assert!(on_disk(disk.directory()) <= after.bytes + OVERHEAD, "{} > {}", on_disk(disk.directory()), after.bytes);
    for class in before.classes {
        let used = after.classes.iter().find(|other| other.0 == class.0).map_or(0, |class| class.2);
        assert_eq!(used, class.2, "places of {} bytes", class.0);
    }
}

/// Changes the bytes of all files in a directory whose names end so, without exchanging them.
fn damage(path: &Path, end: &str, change: impl Fn(&mut [u8])) {
    for entry in std::fs::read_dir(path).unwrap().flatten() {
        if !entry.path().is_file() || !entry.file_name().to_str().unwrap().ends_with(end) {
            continue;
        }
        let file = std::fs::File::options().read(true).write(true).open(entry.path()).unwrap();
        let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        change(&mut bytes);
        file.write_all_at(&bytes, 0).unwrap();
    }
}
