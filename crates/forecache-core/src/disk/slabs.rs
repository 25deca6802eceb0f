//! Space on disk: files of places of one size each, so that what is freed can be used at once; long records have a file each.
//!
//! Beside each file of places lies a map of their owners: the fingerprint of the entry in each place, 0 for a free one. Only who
//! holds the lock reads or writes it. Files of places are read and written through the system, never mapped, so that a bad disk is an error.

use super::error::{Error, Result};
use super::index::{LARGE, Place};
use super::mapped::{BLOCK, Mapped, allocate, blocks};
use super::shared::{Control, OfClass, Word};
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;

const LEAST: u32 = 64;
const MOST: u32 = 1 << 20;
const STEP: u32 = 32;

const fn next(size: u32) -> u32 {
    let larger = size + if size / 8 < STEP { STEP } else { size / 8 / STEP * STEP };
    if larger > MOST { MOST } else { larger }
}

/// How many sizes there are.
pub const CLASSES: usize = {
    let (mut count, mut size) = (1, LEAST);
    while size < MOST {
        (count, size) = (count + 1, next(size));
    }
    count
};

/// Bytes of a place, by class: an eighth apart where that is more than 32 bytes.
pub const SIZES: [u32; CLASSES] = {
    let mut sizes = [LEAST; CLASSES];
    let mut class = 1;
    while class < CLASSES {
        sizes[class] = next(sizes[class - 1]);
        class += 1;
    }
    sizes
};

/// The class whose places hold so many bytes; `None` for what needs a file of its own.
pub fn class_of(length: u64) -> Option<usize> {
    let class = SIZES.partition_point(|&size| u64::from(size) < length);
    (class < CLASSES).then_some(class)
}

/// The files, for those who read and those who write.
pub struct Slabs {
    slabs: PathBuf,
    large: PathBuf,
    files: [OnceLock<File>; CLASSES],
    writable: bool,
}

/// The maps of owners, for who holds the lock.
pub struct Owners([Option<Mapped>; CLASSES]);

impl Default for Owners {
    fn default() -> Self {
        Owners([const { None }; CLASSES])
    }
}

impl Slabs {
    /// The files in this directory. Says whether it had any place for them.
    pub fn open(directory: &Path) -> Result<(Self, bool)> {
        let slabs = Slabs { writable: true, ..Slabs::to_read(directory) };
        let had = slabs.slabs.exists();
        for path in [&slabs.large, &slabs.slabs] {
            std::fs::create_dir_all(path).map_err(Error::io("can't create", path))?;
        }
        Ok((slabs, had))
    }

    /// The same where they may only be read.
    pub fn to_read(directory: &Path) -> Self {
        let [slabs, large] = ["slabs", "large"].map(|name| directory.join(name));
        Slabs { slabs, large, files: [const { OnceLock::new() }; CLASSES], writable: false }
    }

    fn path(&self, class: usize) -> PathBuf {
        self.slabs.join(format!("{class:03}"))
    }

    fn owners_path(&self, class: usize) -> PathBuf {
        self.slabs.join(format!("{class:03}.owners"))
    }

    fn large_path(&self, number: u64) -> PathBuf {
        self.large.join(format!("{number:010x}"))
    }

    fn file(&self, class: usize) -> io::Result<&File> {
        if let Some(file) = self.files[class].get() {
            return Ok(file);
        }
        let writable = self.writable;
        let file = File::options().read(true).write(writable).create(writable).truncate(false).open(self.path(class))?;
        Ok(self.files[class].get_or_init(|| file))
    }

    /// Reads the beginning of a record. [`io::ErrorKind::UnexpectedEof`] or `NotFound`: the place is gone.
    pub fn read(&self, place: Place, buffer: &mut [u8]) -> io::Result<()> {
        if place.class == LARGE {
            return File::open(self.large_path(place.number))?.read_exact_at(buffer, 0);
        }
        let class = usize::from(place.class);
        let size = SIZES.get(class).ok_or(io::ErrorKind::UnexpectedEof)?;
        self.file(class)?.read_exact_at(buffer, place.number * u64::from(*size))
    }

    /// Writes a record to a place that was taken for it.
    pub fn write(&self, place: Place, record: &[u8]) -> Result<()> {
        if place.class == LARGE {
            let path = self.large_path(place.number);
            return write_file(&path, record)
                .inspect_err(|_| drop(std::fs::remove_file(&path)))
                .map_err(Error::io("can't write", &path));
        }
        self.write_run(place, &mut [IoSlice::new(record)])
    }

    /// Writes what lies in places side by side, from that one on: all but the last fill theirs.
    pub fn write_run(&self, first: Place, records: &mut [IoSlice]) -> Result<()> {
        let class = usize::from(first.class);
        let at = first.number * u64::from(SIZES[class]);
        self.file(class).and_then(|file| write_all(file, records, at)).map_err(Error::io("can't write", &self.path(class)))
    }

    /// Forgets a file of its own.
    pub fn unlink(&self, number: u64) {
        let _ = std::fs::remove_file(self.large_path(number));
    }

    /// Waits until all writes so far would survive a crash of the machine. `version` was the latest when nobody held the lock: files of
    /// their own up to it are complete.
    pub fn sync(&self, control: &Control, version: u64) -> Result<()> {
        for class in 0..CLASSES {
            let written = control.class(class, OfClass::Written).load(Relaxed);
            if written != control.class(class, OfClass::Synced).load(Relaxed) {
                self.file(class).and_then(File::sync_data).map_err(Error::io("can't sync", &self.path(class)))?;
                control.class(class, OfClass::Synced).fetch_max(written, Relaxed);
            }
        }
        // The files' names, too.
        File::open(&self.slabs).and_then(|directory| directory.sync_all()).map_err(Error::io("can't sync", &self.slabs))?;
        let synced = control.class(LARGE.into(), OfClass::Synced);
        let before = synced.load(Relaxed);
        let new: Vec<u64> = self.large_files()?.into_iter().filter(|number| (before + 1..=version).contains(number)).collect();
        for number in &new {
            let path = self.large_path(*number);
            match File::open(&path).and_then(|file| file.sync_all()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Error::io("can't sync", &path)(error)),
                _ => {}
            }
        }
        if !new.is_empty() {
            File::open(&self.large).and_then(|file| file.sync_all()).map_err(Error::io("can't sync", &self.large))?;
        }
        synced.fetch_max(version, Relaxed);
        Ok(())
    }

    /// The numbers of all files that records have for their own.
    pub fn large_files(&self) -> Result<Vec<u64>> {
        let names = std::fs::read_dir(&self.large).map_err(Error::io("can't list", &self.large))?;
        Ok(names.flatten().filter_map(|entry| u64::from_str_radix(entry.file_name().to_str()?, 16).ok()).collect())
    }

    /// Bytes of a class's file.
    pub fn length(&self, class: usize) -> u64 {
        std::fs::metadata(self.path(class)).map_or(0, |found| found.len())
    }

    /// Bytes of a file of its own; 0 if there is none.
    pub fn large_length(&self, number: u64) -> u64 {
        std::fs::metadata(self.large_path(number)).map_or(0, |found| found.len())
    }
}

#[cfg(target_os = "linux")]
fn write_all(file: &File, mut parts: &mut [IoSlice], mut at: u64) -> io::Result<()> {
    while !parts.is_empty() {
        match rustix::io::pwritev(file, parts, at) {
            Err(rustix::io::Errno::INTR) => {}
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            written => {
                let written = written?;
                IoSlice::advance_slices(&mut parts, written);
                at += written as u64;
            }
        }
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn write_all(file: &File, parts: &mut [IoSlice], mut at: u64) -> io::Result<()> {
    for part in parts {
        file.write_all_at(part, at)?;
        at += part.len() as u64;
    }
    Ok(())
}

fn write_file(path: &Path, record: &[u8]) -> io::Result<()> {
    let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
    allocate(&file, 0, record.len() as u64)?;
    write_all(&file, &mut [IoSlice::new(record)], 0)
}

/// Bytes that the map of a file of that many bytes takes.
fn owners_bytes(class: usize, length: u64) -> u64 {
    blocks(length / u64::from(SIZES[class]) * 8)
}

/// What a class takes on disk, its map included, with a file of that many bytes.
pub fn footprint(class: usize, length: u64) -> u64 {
    length + owners_bytes(class, length)
}

/// The space of a directory, as who holds the lock sees it.
pub struct Space<'a> {
    /// The files.
    pub slabs: &'a Slabs,
    /// The sums.
    pub control: &'a Control,
    /// The maps of owners.
    pub owners: &'a mut Owners,
}

impl Space<'_> {
    fn number(&self, class: usize, word: OfClass) -> u64 {
        self.control.class(class, word).load(Relaxed)
    }

    fn set(&self, class: usize, word: OfClass, value: u64) {
        self.control.class(class, word).store(value, Relaxed);
    }

    /// How many places a class has.
    pub fn places(&self, class: usize) -> u64 {
        self.number(class, OfClass::Length) / u64::from(SIZES[class])
    }

    /// Bytes of free places.
    pub fn free(&self, class: usize) -> u64 {
        self.places(class).saturating_sub(self.number(class, OfClass::Used)) * u64::from(SIZES[class])
    }

    /// The owners of a class's places. Another process may have made it longer.
    fn owners(&mut self, class: usize) -> Result<&Mapped> {
        let needed = owners_bytes(class, self.number(class, OfClass::Length));
        let map = &mut self.owners.0[class];
        if map.as_ref().is_none_or(|map| map.length() < needed) {
            let path = self.slabs.owners_path(class);
            let file = File::options().read(true).write(true).create(true).truncate(false).open(&path);
            let file = file.map_err(Error::io("can't open", &path))?;
            let mapped = file.metadata().and_then(|found| {
                let length = found.len().max(needed) / BLOCK * BLOCK;
                allocate(&file, 0, length)?;
                Mapped::new(&file, length)
            });
            *map = Some(mapped.map_err(Error::io("can't allocate", &path))?);
        }
        map.as_ref().ok_or_else(|| Error::io("can't map", &self.slabs.slabs)(io::ErrorKind::Other.into()))
    }

    /// Takes a free place for an entry; `None` if there is none.
    pub fn take(&mut self, class: usize, fingerprint: u64) -> Result<Option<u64>> {
        let (places, used) = (self.places(class), self.number(class, OfClass::Used));
        if used >= places {
            return Ok(None);
        }
        let hint = self.number(class, OfClass::Hint) % places;
        let owners = self.owners(class)?.words();
        let free = |range: std::ops::Range<u64>| range.into_iter().find(|&place| owners[place as usize].load(Relaxed) == 0);
        let Some(place) = free(hint..places).or_else(|| free(0..hint)) else {
            // The sum was wrong.
            self.set(class, OfClass::Used, places);
            return Ok(None);
        };
        owners[place as usize].store(fingerprint, Relaxed);
        self.set(class, OfClass::Used, used + 1);
        self.set(class, OfClass::Hint, place + 1);
        Ok(Some(place))
    }

    /// Marks a place as an entry's, if it is free and there.
    pub fn claim(&mut self, class: usize, place: u64, fingerprint: u64) -> Result<bool> {
        if class >= CLASSES || place >= self.places(class) || self.owner(class, place)? != 0 {
            return Ok(false);
        }
        self.owners(class)?.words()[place as usize].store(fingerprint, Relaxed);
        self.set(class, OfClass::Used, self.number(class, OfClass::Used) + 1);
        Ok(true)
    }

    /// Whose a place is.
    pub fn owner(&mut self, class: usize, place: u64) -> Result<u64> {
        Ok(self.owners(class)?.words().get(place as usize).map_or(0, |owner| owner.load(Relaxed)))
    }

    /// Frees the place of an entry, unless it is another's by now.
    pub fn give_back(&mut self, place: Place, length: u32, fingerprint: u64) -> Result<()> {
        let class = usize::from(place.class);
        if place.class == LARGE {
            self.slabs.unlink(place.number);
            self.control.add(Word::Allocated, -(blocks(length.into()) as i64));
        } else if class < CLASSES && place.number < self.places(class) && self.owner(class, place.number)? == fingerprint {
            self.owners(class)?.words()[place.number as usize].store(0, Relaxed);
            self.set(class, OfClass::Hint, place.number);
        } else {
            return Ok(());
        }
        self.set(class, OfClass::Used, self.number(class, OfClass::Used).saturating_sub(1));
        Ok(())
    }

    /// How long a class's file becomes when it grows: by `step` bytes, or by one place.
    pub fn grown(&self, class: usize, step: u64) -> u64 {
        let length = self.number(class, OfClass::Length);
        blocks(length + step.max(u64::from(SIZES[class])))
    }

    /// Bytes that it would take for a class to grow.
    pub fn growth(&self, class: usize, step: u64) -> u64 {
        footprint(class, self.grown(class, step)) - footprint(class, self.number(class, OfClass::Length))
    }

    /// Makes a class's file longer.
    pub fn grow(&mut self, class: usize, step: u64) -> Result<()> {
        let (length, grown, growth) = (self.number(class, OfClass::Length), self.grown(class, step), self.growth(class, step));
        let path = self.slabs.path(class);
        let file = self.slabs.file(class).map_err(Error::io("can't open", &path))?;
        allocate(file, length, grown).map_err(Error::io("can't allocate", &path))?;
        self.set(class, OfClass::Hint, self.places(class));
        if owners_bytes(class, grown) > owners_bytes(class, length) {
            // Another process may have cut the file of the map: it has to be allocated again.
            self.owners.0[class] = None;
        }
        self.set(class, OfClass::Length, grown);
        if let Err(error) = self.owners(class) {
            self.set(class, OfClass::Length, length);
            return Err(error);
        }
        self.control.add(Word::Allocated, growth as i64);
        Ok(())
    }

    /// Cuts free places off the end of a class's file, down to its last place in use.
    pub fn cut(&mut self, class: usize) -> Result<()> {
        let (length, places) = (self.number(class, OfClass::Length), self.places(class));
        let places = self.end(class, places)?;
        let shorter = blocks(places * u64::from(SIZES[class]));
        if shorter >= length {
            return Ok(());
        }
        self.set(class, OfClass::Length, shorter);
        let owners = self.slabs.owners_path(class);
        self.owners.0[class] = None;
        self.truncate(class, shorter)?;
        let shortened = File::options().write(true).open(&owners).and_then(|file| file.set_len(owners_bytes(class, shorter)));
        shortened.map_err(Error::io("can't shorten", &owners))?;
        self.control.add(Word::Allocated, footprint(class, shorter) as i64 - footprint(class, length) as i64);
        Ok(())
    }

    fn truncate(&self, class: usize, length: u64) -> Result<()> {
        let path = self.slabs.path(class);
        self.slabs.file(class).and_then(|file| file.set_len(length)).map_err(Error::io("can't shorten", &path))
    }

    /// How many places there are up to the last of the first `places` that is in use.
    pub fn end(&mut self, class: usize, mut places: u64) -> Result<u64> {
        while places > 0 && self.owner(class, places - 1)? == 0 {
            places -= 1;
        }
        Ok(places)
    }

    /// A free place before that one.
    pub fn hole(&mut self, class: usize, before: u64) -> Result<Option<u64>> {
        let from = self.number(class, OfClass::Hint).min(before);
        let owners = self.owners(class)?.words();
        let free = |place: &u64| owners[*place as usize].load(Relaxed) == 0;
        let hole = (from..before).find(free).or_else(|| (0..from).find(free));
        if let Some(hole) = hole {
            self.set(class, OfClass::Hint, hole);
        }
        Ok(hole)
    }

    /// Takes all sums and maps back to what the files say, nothing being in use. Gives the bytes of all classes.
    pub fn reset(&mut self) -> Result<()> {
        let mut allocated = 0;
        for class in 0..CLASSES {
            let path = self.slabs.path(class);
            let found = std::fs::metadata(&path).map_or(0, |found| found.len());
            let length = found / BLOCK * BLOCK;
            if found > length {
                self.truncate(class, length)?;
            }
            self.set(class, OfClass::Length, length);
            self.set(class, OfClass::Used, 0);
            self.set(class, OfClass::Hint, 0);
            self.owners.0[class] = None;
            let owners = self.slabs.owners_path(class);
            match File::options().write(true).truncate(true).open(&owners) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Error::io("can't empty", &owners)(error)),
                _ => {}
            }
            if length > 0 {
                self.owners(class)?;
            }
            allocated += footprint(class, length);
        }
        self.set(usize::from(LARGE), OfClass::Used, 0);
        self.control.set(Word::Allocated, allocated);
        Ok(())
    }
}
