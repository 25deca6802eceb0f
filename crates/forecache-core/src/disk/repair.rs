//! Repair: after someone died in the middle of a change, the machine was started anew, or something was found damaged, index, owners
//! and sums are made right again. The caller holds the lock.

use super::index::{Index, LARGE, Slot};
use super::mapped::blocks;
use super::room::LEAST_SLOTS;
use super::shared::{Control, NAMESPACES, OfClass, OfNamespace, Word};
use super::slabs::{CLASSES, SIZES, Slabs};
use super::{Error, OVERHEAD, Result, Writing};
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// More versions than are given between two moments at which the system writes mapped files to disk: after a crash of the machine, those
/// that were given last may be in old records though nothing in the index and in the header tells.
const FORGOTTEN: u64 = 1 << 24;

impl Index {
    /// Makes an empty index in place of what is there, and tells those who have that open.
    pub(super) fn replace(path: &Path, slots: u64) -> Result<Self> {
        Index::retire(path);
        let aside = path.with_extension("new");
        let index = Index::create(&aside, slots)?;
        std::fs::rename(&aside, path).map_err(Error::io("can't rename", &aside))?;
        Ok(index)
    }
}

impl Slabs {
    /// Whether the files are as long as the sums say.
    pub(super) fn agree(&self, control: &Control) -> bool {
        let lengths = (0..CLASSES).map(|class| (self.length(class), control.class(class, OfClass::Length).load(Relaxed)));
        lengths.into_iter().all(|(found, said)| found == said)
    }
}

impl Writing<'_> {
    /// See the head of this file.
    pub fn repair(&mut self) -> Result<()> {
        let disk = self.disk;
        self.broken = true;
        disk.control.word(Word::Repairs).fetch_add(1, Relaxed);
        let path = disk.directory.join("index");
        let _ = std::fs::remove_file(path.with_extension("new"));
        let current = Index::open(&path)?;
        let index = match current {
            Some(index) => index,
            None => Index::replace(&path, LEAST_SLOTS)?,
        };
        index.current();
        self.replace_index(index);
        self.space().reset()?;
        self.begin_sums();
        let files: HashSet<u64> = disk.slabs.large_files()?.into_iter().collect();
        let kept = self.check_slots(&files)?;
        files.difference(&kept).for_each(|&number| disk.slabs.unlink(number));
        for class in 0..CLASSES {
            self.space().cut(class)?;
        }
        // Whoever died may have changed a key and not told.
        disk.counters.disturb();
        self.broken = false;
        Ok(())
    }

    fn begin_sums(&self) {
        let control = &self.disk.control;
        control.set(Word::Entries, 0);
        control.set(Word::Dead, 0);
        control.add(Word::Allocated, (control.length() + self.index.length() + OVERHEAD) as i64);
        for id in 0..NAMESPACES as u16 {
            control.namespace(id, OfNamespace::Entries).store(0, Relaxed);
            control.namespace(id, OfNamespace::Bytes).store(0, Relaxed);
        }
    }

    /// Keeps the entries whose places are there and nobody else's, counts them, and gives the numbers of the files they have for their own.
    fn check_slots(&mut self, files: &HashSet<u64>) -> Result<HashSet<u64>> {
        let (mut large, mut version, mut failed) = (HashSet::new(), 0, None);
        let index = Arc::clone(&self.index);
        let lost = index.repair(|slot| {
            let keeps = self.claim(slot, files, &mut large).unwrap_or_else(|error| {
                failed = Some(error);
                false
            });
            version = version.max(slot.version);
            keeps
        });
        self.disk.tally.corrupt.fetch_add(lost, Relaxed);
        // Only now it is known what can be found.
        let control = &self.disk.control;
        control.word(Word::Version).fetch_max(version, Relaxed);
        control.word(Word::Version).fetch_add(FORGOTTEN, Relaxed);
        index.each(|slot| self.count(slot));
        failed.map_or(Ok(large), Err)
    }

    fn claim(&mut self, slot: &Slot, files: &HashSet<u64>, large: &mut HashSet<u64>) -> Result<bool> {
        let (class, number) = (usize::from(slot.place.class), slot.place.number);
        if usize::from(slot.namespace) >= NAMESPACES {
            return Ok(false);
        }
        if slot.place.class != LARGE {
            return Ok(class < CLASSES && slot.length <= SIZES[class] && self.space().claim(class, number, slot.fingerprint)?);
        }
        let length = blocks(slot.length.into());
        let ours = files.contains(&number) && self.disk.slabs.large_length(number) >= slot.length.into() && large.insert(number);
        if ours {
            self.disk.control.add(Word::Allocated, length as i64);
            self.disk.control.class(class, OfClass::Used).fetch_add(1, Relaxed);
        }
        Ok(ours)
    }
}
