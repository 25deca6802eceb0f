//! The end of a recording that hangs on the store.

use super::ring::{Ring, WORDS};
use super::{PATIENCE, Recorder, Settings, Shared};
use crate::list::Slot;
use crate::trace::bounds::NAME;
use std::process;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// What a word says, in its upper byte; the lower 56 bits are its argument.
pub(super) const KIND: u32 = 56;
/// An entry was read: its slot.
pub(super) const HIT: u64 = 0;
/// Nanoseconds since the begin; holds for what follows.
pub(super) const TIME: u64 = 1;
/// A read found nothing: one word, the key's hash, and the key.
pub(super) const MISS: u64 = 2;
/// Something was stored: its slot, and four words, see [`Held`], and the key.
pub(super) const SET: u64 = 3;
/// An entry left that would have left any cache: its slot.
pub(super) const DELETE: u64 = 4;
/// All did.
pub(super) const CLEAR: u64 = 5;
/// All of an owner did: its number.
pub(super) const CLEAR_OWNER: u64 = 6;
/// A number means another owner now: the number, and the name.
pub(super) const OWNER: u64 = 7;

/// Texts longer than a trace may have are recorded by their hash; the ring has room for all others.
const _: () = assert!(NAME / 8 + 16 < WORDS);

/// What a recording knows of an entry, or of an attempt to store one.
#[derive(Debug, Clone)]
pub struct Held {
    /// Where the entry is; `None` if it wasn't taken.
    pub slot: Option<Slot>,
    /// The key's hash.
    pub hash: u64,
    /// The key, where texts are recorded and the entry was there before the tape; else empty.
    pub text: Box<str>,
    /// What it is charged for.
    pub weight: u64,
    /// Nanoseconds; [`crate::expiry::NEVER`] for ever.
    pub time_to_live: u64,
    /// The owner's number.
    pub owner: u32,
    /// How dear it is to load again; not a number if that is what it was before.
    pub cost: f32,
    /// Hits that the policy had counted for an entry that was there before the tape.
    pub hits: u64,
}

/// See the head of this file. Its methods do nothing once the recording is over.
#[derive(Debug)]
pub struct Tape {
    ring: Arc<Ring>,
    shared: Arc<Shared>,
    settings: Settings,
    /// Words written, and the number from which on there may be no room.
    end: u64,
    room_until: u64,
    /// What the store's clock showed at the begin, and when it was last asked.
    begin: u64,
    now: u64,
    patience: Duration,
    /// The owners' names by number, as the other end knows them.
    owners: Vec<Box<str>>,
    over: bool,
}

impl Tape {
    pub(super) fn new(recorder: &Recorder, now: u64, owners: Vec<Box<str>>) -> Self {
        let Recorder { settings, ring, shared, .. } = recorder;
        let (settings, ring, shared) = (settings.clone(), ring.clone(), shared.clone());
        Tape {
            ring,
            shared,
            settings,
            end: 0,
            room_until: WORDS as u64,
            begin: now,
            now,
            patience: PATIENCE,
            owners,
            over: false,
        }
    }

    /// The entry in `slot` was read. False if the recording is over.
    #[inline(never)]
    pub fn hit(&mut self, slot: Slot, now: u64) -> bool {
        self.note(HIT, u64::from(slot), now)
    }

    /// A read of `key` found nothing.
    pub fn miss(&mut self, key: &str, now: u64) {
        let text = self.text(key);
        if self.begins(2 + words(text), now) {
            self.put(MISS, 0);
            self.word(self.settings.secret.hash(key.as_bytes()));
            self.key(text);
            self.show();
        }
    }

    /// What is to be said of an entry that is stored under `key`.
    pub fn held(&self, key: &str, slot: Option<Slot>, weight: u64, time_to_live: u64, owner: u32) -> Held {
        Held {
            slot,
            hash: self.settings.secret.hash(key.as_bytes()),
            text: "".into(),
            weight,
            time_to_live,
            owner,
            cost: f32::NAN,
            hits: 0,
        }
    }

    /// [`Held::text`] of an entry that was there before the tape.
    pub fn text_of(&self, key: &str) -> Box<str> {
        self.text(key).into()
    }

    /// A value was stored under `key`, or not taken. `owner` is the name of its owner.
    pub fn set(&mut self, key: &str, held: &Held, owner: &str, now: u64) {
        let known = self.owners.get(held.owner as usize).is_some_and(|known| **known == *owner);
        if !known {
            self.owner(held.owner, owner, now);
        }
        let text = self.text(key);
        if self.begins(6 + words(text), now) {
            self.put(SET, u64::from(held.slot.unwrap_or(Slot::MAX)));
            let owner_and_cost = u64::from(held.owner) | u64::from(held.cost.to_bits()) << 32;
            for word in [held.hash, held.weight, held.time_to_live, owner_and_cost] {
                self.word(word);
            }
            self.key(text);
            self.show();
        }
    }

    #[cold]
    fn owner(&mut self, number: u32, name: &str, now: u64) {
        let text = self.settings.owner(name).into_owned();
        if self.begins(1 + words(&text), now) {
            let place = number as usize;
            self.owners.resize(self.owners.len().max(place + 1), "".into());
            self.owners[place] = name.into();
            self.put(OWNER, u64::from(number));
            self.write(&text);
            self.show();
        }
    }

    /// The entry in `slot` left, and not for the want of room.
    pub fn delete(&mut self, slot: Slot, now: u64) {
        _ = self.note(DELETE, u64::from(slot), now);
    }

    /// All entries left.
    pub fn clear(&mut self, now: u64) {
        _ = self.note(CLEAR, 0, now);
    }

    /// All entries of an owner left.
    pub fn clear_owner(&mut self, owner: u32, now: u64) {
        _ = self.note(CLEAR_OWNER, u64::from(owner), now);
    }

    #[inline(always)]
    fn note(&mut self, kind: u64, argument: u64, now: u64) -> bool {
        let begins = self.begins(1, now);
        if begins {
            self.put(kind, argument);
            self.show();
        }
        begins
    }

    /// Whether something of so many words can be written that happened `now`.
    #[inline(always)]
    fn begins(&mut self, words: usize, now: u64) -> bool {
        if now == self.now && self.end + (words as u64) < self.room_until { true } else { self.prepare(words, now) }
    }

    #[cold]
    fn prepare(&mut self, words: usize, now: u64) -> bool {
        // A child of a fork has nobody who reads.
        let left = || self.shared.over.load(Ordering::Acquire) || self.shared.process != process::id();
        self.over = self.over || left() || !self.has_room(words as u64 + 1);
        if self.over {
            // The next call shall come here again.
            self.room_until = 0;
            return false;
        }
        if now != self.now {
            self.now = now;
            self.put(TIME, now.saturating_sub(self.begin));
        }
        true
    }

    /// Waits for room, as long as the file grows: at the begin it takes what the store held first.
    fn has_room(&mut self, words: u64) -> bool {
        self.room_until = self.ring.room_until();
        let (mut since, mut bytes) = (Instant::now(), self.shared.bytes.load(Ordering::Relaxed));
        while self.end + words >= self.room_until {
            if self.shared.over.load(Ordering::Acquire) {
                return false;
            }
            let now = self.shared.bytes.load(Ordering::Relaxed);
            if now != bytes {
                (since, bytes) = (Instant::now(), now);
            }
            if since.elapsed() > self.patience {
                self.shared.stop.store(true, Ordering::Release);
                self.shared.late.store(true, Ordering::Release);
                return false;
            }
            self.shared.wake();
            std::thread::sleep(Duration::from_micros(50));
            self.room_until = self.ring.room_until();
        }
        true
    }

    #[inline(always)]
    fn put(&mut self, kind: u64, argument: u64) {
        self.word(kind << KIND | argument);
    }

    #[inline(always)]
    fn word(&mut self, word: u64) {
        debug_assert!(self.end < self.room_until, "more words are written than there was made room for");
        self.ring.put(self.end, word);
        self.end += 1;
    }

    #[inline(always)]
    fn show(&self) {
        self.ring.show(self.end);
    }

    /// The text by which a trace names `key`, if not by its hash.
    fn text<'a>(&self, key: &'a str) -> &'a str {
        if self.settings.facts.hashed || key.len() > NAME { "" } else { key }
    }

    fn key(&mut self, text: &str) {
        if !self.settings.facts.hashed {
            self.write(text);
        }
    }

    fn write(&mut self, text: &str) {
        self.word(text.len() as u64);
        for bytes in text.as_bytes().chunks(8) {
            let mut word = [0; 8];
            word[..bytes.len()].copy_from_slice(bytes);
            self.word(u64::from_le_bytes(word));
        }
    }
}

/// The words that a text takes.
fn words(text: &str) -> usize {
    1 + text.len().div_ceil(8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expiry::NEVER;
    use crate::record::{LEAST_BYTES, Reason, Settings};
    use crate::trace::secret::Secret;
    use crate::trace::{Facts, Operation, Trace};
    use std::path::PathBuf;

    /// A directory that goes when the test ends.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("forecache-{name}-{}", process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Folder(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn recorder(folder: &Folder, max_bytes: u64) -> Recorder {
        let facts = Facts { hashed: true, ..Facts::default() };
        let settings = Settings { facts, secret: Secret::from_bytes(b"test"), max_bytes, duration: None };
        Recorder::prepare(&folder.0.join("t.fctrace"), settings).unwrap()
    }

    fn set(tape: &mut Tape, key: &str, slot: Slot, now: u64) {
        let held = tape.held(key, Some(slot), 7, NEVER, 0);
        tape.set(key, &held, "", now);
    }

    #[test]
    fn the_ring_is_gone_through_many_times_and_no_row_is_lost() {
        let folder = Folder::new("many");
        let recorder = recorder(&folder, 1 << 30);
        let mut tape = recorder.tape(5, vec!["".into()]);
        let recording = recorder.start(Vec::new(), vec!["".into()]);
        for slot in 0..100 {
            set(&mut tape, &slot.to_string(), slot, 5);
        }
        let hits = 3 * WORDS as u64;
        for hit in 0..hits {
            assert!(tape.hit((hit % 100) as Slot, 5 + hit / 1000));
        }
        recording.stop();
        let recorded = recording.wait().unwrap();
        assert_eq!((recorded.hits, recorded.keys, recorded.reason), (hits, 100, Reason::Stopped));
        let trace = Trace::open(&folder.0.join("t.fctrace"), None).unwrap();
        assert_eq!(trace.len() as u64, 100 + hits);
        let rows = (0..hits).map(|hit| (hit, trace.row(100 + hit as usize)));
        for (hit, row) in rows {
            assert_eq!((row.time, row.size, row.operation), (hit / 1000, 7, Operation::Get));
            assert_eq!(trace.ids[100 + hit as usize] as u64, hit % 100);
        }
        assert!(!tape.hit(0, NEVER), "it is over");
    }

    #[test]
    fn names_too_long_for_a_trace_are_hashed_and_those_at_the_limit_fill_the_ring_many_times() {
        let folder = Folder::new("long");
        let mut recorder = recorder(&folder, 1 << 30);
        recorder.settings.facts.hashed = false;
        let settings = recorder.settings.clone();
        let first = "f".repeat(NAME + 1);
        let owners = vec!["".into(), first.as_str().into()];
        let mut tape = recorder.tape(0, owners.clone());
        let held = Held { text: "first".into(), ..tape.held("first", Some(0), 7, NEVER, 1) };
        let recording = recorder.start(vec![held], owners);
        let names = (0..20).map(|number| number.to_string().repeat(NAME / 2).repeat(1 + number % 2 * 8));
        let names: Vec<String> = names.collect();
        for name in &names {
            let held = tape.held("key", Some(1), 7, NEVER, 2);
            tape.set("key", &held, name, 0);
        }
        recording.stop();
        assert_eq!(recording.wait().unwrap().reason, Reason::Stopped);
        let trace = Trace::open(&folder.0.join("t.fctrace"), None).unwrap();
        assert_eq!(trace.row(0).owner, settings.secret.hashed_owner(&first));
        for (number, name) in names.iter().enumerate() {
            let owner = if name.len() > NAME { &settings.secret.hashed_owner(name) } else { name };
            assert!(trace.row(1 + number).owner == owner, "owner {number}");
        }
    }

    #[test]
    fn waiting_has_an_end() {
        let folder = Folder::new("hung");
        let recorder = recorder(&folder, 1 << 30);
        let recording = recorder.recording();
        recording.stop();
        assert!(!recording.wait_at_most(Duration::ZERO), "nobody writes yet");
        recorder.start(Vec::new(), vec!["".into()]).wait().unwrap();
        assert!(recording.wait_at_most(Duration::ZERO));
    }

    #[test]
    fn who_asks_does_not_wait_for_ever_and_the_trace_is_whole_up_to_there() {
        let folder = Folder::new("late");
        let recorder = recorder(&folder, 1 << 30);
        let mut tape = recorder.tape(0, vec!["".into()]);
        tape.patience = Duration::ZERO;
        set(&mut tape, "a", 0, 0);
        let mut hits = 0;
        while tape.hit(0, 0) {
            hits += 1;
        }
        assert!(hits > WORDS as u64 / 2);
        // As if the disk came back.
        let recorded = recorder.start(Vec::new(), vec!["".into()]).wait().unwrap();
        assert_eq!((recorded.hits, recorded.reason), (hits, Reason::Late));
    }

    #[test]
    fn the_smallest_file_has_room_for_something() {
        let folder = Folder::new("small");
        let recorder = recorder(&folder, LEAST_BYTES);
        let mut tape = recorder.tape(0, vec!["".into()]);
        let recording = recorder.start(Vec::new(), vec!["".into()]);
        set(&mut tape, "a", 0, 0);
        while tape.hit(0, 0) {}
        let recorded = recording.wait().unwrap();
        assert_eq!(recorded.reason, Reason::Bytes);
        assert!(recorded.hits > 100 && recorded.bytes <= LEAST_BYTES, "{recorded:?}");
    }
}
