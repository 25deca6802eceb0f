//! A directory that can't be written to.

use super::*;
use std::io::ErrorKind;

/// As if the system forbade to write.
fn open_to_read(path: &Path) -> Result<Disk> {
    let why = Error::io("can't open", path)(ErrorKind::PermissionDenied.into());
    Disk::open_to_read(path, Options::new(CAPACITY), name_hash(""), why)
}

fn contents(path: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut names: Vec<PathBuf> = std::fs::read_dir(path).unwrap().flatten().map(|entry| entry.path()).collect();
    names.sort();
    let of = |name: PathBuf| if name.is_dir() { contents(&name) } else { vec![(name.clone(), std::fs::read(name).unwrap())] };
    names.into_iter().flat_map(of).collect()
}

#[test]
fn reads_find_everything_and_leave_the_files_as_they_are() {
    let directory = directory();
    let disk = open(directory.path());
    let idle = Fields { time_to_idle: 1000, ..Fields::default() };
    assert!(put(&disk, &Item { fields: idle, ..item("idle", b"v") }, false));
    assert!(set(&disk, "damaged", &noise(5000, 1)) && set(&disk, "long", &noise(2 << 20, 2)));
    let class = slabs::class_of(5000).unwrap();
    damage(&directory.path().join("slabs"), &format!("{class:03}"), |bytes| bytes[2000] ^= 1);
    let before = contents(directory.path());
    let read = open_to_read(directory.path()).unwrap();
    let found = ["idle", "damaged", "long", "absent"].map(|key| get(&read, key));
    assert_eq!(found, [Some(b"v".to_vec()), None, Some(noise(2 << 20, 2)), None]);
    assert_eq!(keys(&read), ["damaged", "idle", "long"]);
    read.flush().unwrap();
    drop(read);
    assert!(contents(directory.path()) == before);
}

#[test]
fn one_that_can_be_written_to_by_now_calls_for_being_opened_anew() {
    let directory = directory();
    set(&open(directory.path()), "k", b"v");
    let read = open_to_read(directory.path()).unwrap();
    assert!(matches!(read.delete_many(&["k"], NOW, true), Err(Error::Gone(_))));
    assert!(delete(&read.again().unwrap(), "k"));
    assert_eq!(get(&read, "k"), None);
}

#[test]
fn one_that_is_not_whole_is_not_opened_and_says_why() {
    let directory = directory();
    assert!(
        matches!(open_to_read(directory.path()), Err(Error::Io { source, .. }) if source.kind() == ErrorKind::PermissionDenied)
    );
    drop(open(directory.path()));
    damage(directory.path(), "control", |bytes| bytes[8] ^= 1);
    assert!(open_to_read(directory.path()).is_err_and(|error| error.is_forbidden()));
}

#[test]
fn what_others_change_is_seen() {
    let directory = directory();
    let disk = open(directory.path());
    set(&disk, "k", b"old");
    let read = open_to_read(directory.path()).unwrap();
    let stripe = read.counters().stripe("", "k");
    let before = read.counters().epoch(stripe);
    assert_eq!(get(&read, "k"), Some(b"old".to_vec()));
    set(&disk, "k", b"new");
    assert_eq!(get(&read, "k"), Some(b"new".to_vec()));
    assert_ne!(read.counters().epoch(stripe), before);
    // The index grows, and is another file.
    (0..5000).for_each(|number| assert!(set(&disk, &number.to_string(), b"v")));
    assert!((0..5000).all(|number| get(&read, &number.to_string()).is_some()));
    disk.clear().unwrap();
    assert_eq!((get(&read, "k"), get(&read, "0")), (None, None));
}

#[test]
fn a_namespace_that_is_begun_later_is_found_by_reads() {
    let directory = directory();
    drop(open_with(directory.path(), |options| options.namespace = "other".into()));
    let read = open_to_read(directory.path()).unwrap();
    assert_eq!(get(&read, "k"), None);
    set(&open(directory.path()), "k", b"v");
    // The first that comes finds the namespace, and nothing else.
    assert_eq!((get(&read, "k"), get(&read, "k")), (None, Some(b"v".to_vec())));
}
