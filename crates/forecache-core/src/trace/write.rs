//! Writes our own format, record by record.

use super::block::Filling;
pub use super::block::Record;
use super::bounds::{FACTS, NAME, ROWS, most_pages, pad};
use super::file::{BLOCK, END, header};
use super::{ALL_KEYS, Facts, Key, Operation, Row, TraceError, is_cost};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// How hard zstd packs, unless another level is asked for: files are written once and read often.
const LEVEL: i32 = 19;

/// Writes to anything. Without [`Writer::finish`] what was written has no trailer, and no reader takes it.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    texts: bool,
    level: i32,
    /// Bytes so far.
    written: u64,
    block: Filling,
    blocks: u32,
    records: u64,
    accesses: u64,
    /// Those that are deletes.
    deletes: u64,
    /// The time of the record before.
    time: u64,
}

impl<W: Write> Writer<W> {
    /// Begins a file. With `texts` keys are stored as texts, otherwise they have to be numbers.
    pub fn new(mut out: W, facts: &Facts, texts: bool) -> io::Result<Self> {
        if facts.description.len() > FACTS / 2 {
            let message = format!("a description of {} bytes; expected at most {}", facts.description.len(), FACTS / 2);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        if !(1..=ALL_KEYS).contains(&facts.sampled) {
            let message = format!("{} keys of a million; expected 1 to {ALL_KEYS}", facts.sampled);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let header = header(facts, texts);
        out.write_all(&header)?;
        let (level, written) = (LEVEL, header.len() as u64);
        Ok(Writer {
            out,
            texts,
            level,
            written,
            block: Filling::default(),
            blocks: 0,
            records: 0,
            accesses: 0,
            deletes: 0,
            time: 0,
        })
    }

    /// The same with another level of zstd.
    pub fn at_level(self, level: i32) -> Self {
        Writer { level, ..self }
    }

    /// Bytes written so far, without the block that is being filled.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// The number by which [`Writer::push_record`] knows a key from now on. In its block there must be a record for each key told.
    pub fn tell_key(&mut self, name: Box<str>) -> u64 {
        self.block.tell_key(name)
    }

    /// The number by which [`Writer::push_record`] knows an owner from now on, at most one for each record as above.
    pub fn tell_owner(&mut self, name: Box<str>) -> u64 {
        self.block.tell_owner(name)
    }

    /// Appends an access whose key was told, in a trace of texts.
    pub fn push_record(&mut self, record: &Record) -> io::Result<()> {
        self.count(u64::from(record.operation == Operation::Delete), 1)?;
        self.block.push_record(record);
        self.time = record.time;
        if self.block.is_full() { self.flush() } else { Ok(()) }
    }

    /// Counts one more record of so many accesses, so many of them deletes.
    fn count(&mut self, deletes: u64, accesses: u64) -> io::Result<()> {
        let (deletes, accesses) = (self.deletes.saturating_add(deletes), self.accesses.saturating_add(accesses));
        let others = accesses - deletes;
        if others.saturating_add(deletes.min(others)) > ROWS {
            let message = format!("the trace would have more than {ROWS} accesses; begin another");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        (self.records, self.accesses, self.deletes) = (self.records + 1, accesses, deletes);
        Ok(())
    }

    /// Appends one access.
    pub fn push(&mut self, row: &Row) -> io::Result<()> {
        self.push_pages(row, 1)
    }

    /// Appends a request of `pages` keys that follow each other, the first of them that of `row`; each access is of `row.size` bytes.
    pub fn push_pages(&mut self, row: &Row, pages: u64) -> io::Result<()> {
        let invalid = |message: String| Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        match row.key {
            Key::Text(text) if !self.texts => {
                return invalid(format!("key {text:?} is no number, and the trace was begun for numbers"));
            }
            _ if self.texts && pages != 1 => {
                return invalid(format!("{pages} pages; only keys that are numbers can be counted on"));
            }
            Key::Text(text) if text.len() > NAME => {
                return invalid(format!("a key of {} bytes; expected at most {NAME}", text.len()));
            }
            Key::Number(number) if pages == 0 || number.checked_add(pages - 1).is_none() => {
                return invalid(format!("{pages} pages from {number} on; expected at least 1, and no key beyond 2^64"));
            }
            _ if row.time < self.time => {
                return invalid(format!(
                    "a time of {} ns behind one of {} ns; expected times that don't go back",
                    row.time, self.time
                ));
            }
            _ if !is_cost(row.cost) => return invalid(format!("a cost of {}; expected a number of at least 0", row.cost)),
            _ if row.owner.len() > NAME => {
                return invalid(format!("an owner of {} bytes; expected at most {NAME}", row.owner.len()));
            }
            _ if pages > most_pages(row.operation) => {
                let (name, most) = (row.operation.name(), most_pages(row.operation));
                return invalid(format!("a {name} of {pages} pages; expected at most {most}"));
            }
            _ => {}
        }
        self.count(if row.operation == Operation::Delete { pages } else { 0 }, pages)?;
        self.block.push(row, pages, self.texts);
        self.time = row.time;
        if self.block.is_full() { self.flush() } else { Ok(()) }
    }

    /// Writes the block that is being filled, if there is anything in it.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.block.len() == 0 {
            return Ok(());
        }
        let records = self.block.len() as u32;
        let accesses = self.block.accesses();
        let raw = self.block.take();
        let mut packed = zstd::bulk::compress(&raw, self.level)?;
        pad(&mut packed, accesses.max(raw.len() as u64));
        let mut head = vec![BLOCK];
        for number in [self.blocks, records, raw.len() as u32, packed.len() as u32] {
            head.extend(number.to_le_bytes());
        }
        self.write_checked(&head)?;
        self.write_checked(&packed)?;
        self.blocks += 1;
        Ok(())
    }

    fn write_checked(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.written += bytes.len() as u64 + 4;
        self.out.write_all(&crc32fast::hash(bytes).to_le_bytes())
    }

    /// Writes what is left and the trailer, and gives back what was written to.
    pub fn finish(mut self) -> io::Result<W> {
        self.flush()?;
        let mut trailer = vec![END];
        trailer.extend(self.blocks.to_le_bytes());
        trailer.extend(self.records.to_le_bytes());
        trailer.extend(self.accesses.to_le_bytes());
        self.write_checked(&trailer)?;
        self.out.flush()?;
        Ok(self.out)
    }
}

/// Writes a file at `path`, which appears there when all is written, in the place of what was there before. `fill` writes its
/// records; its error is passed on and nothing is left behind.
pub fn create<R>(
    path: &Path,
    facts: &Facts,
    texts: bool,
    fill: impl FnOnce(&mut Writer<BufWriter<File>>) -> Result<R, TraceError>,
) -> Result<R, TraceError> {
    let unwritable = |error: io::Error| TraceError::whole(path, format!("can't be written: {error}"));
    let (partial, file) = Partial::begin(path, &mut OpenOptions::new()).map_err(unwritable)?;
    let mut writer = Writer::new(BufWriter::new(file), facts, texts).map_err(unwritable)?;
    let result = fill(&mut writer)?;
    let file = writer.finish().and_then(|out| out.into_inner().map_err(io::Error::from)).map_err(unwritable)?;
    partial.complete(&file).map_err(unwritable)?;
    Ok(result)
}

/// A file beside the one that it is to become, removed unless it did.
#[derive(Debug)]
pub(crate) struct Partial {
    at: PathBuf,
    path: PathBuf,
}

impl Partial {
    /// Begins a file that will be at `path`. Two for one path don't get in each other's way.
    pub fn begin(path: &Path, options: &mut OpenOptions) -> io::Result<(Self, File)> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}-{}.partial", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed)));
        let at = path.with_file_name(name);
        // What a process of the same number left behind when it was killed. A link there is not followed.
        let _ = fs::remove_file(&at);
        let file = options.write(true).create_new(true).open(&at)?;
        Ok((Partial { at, path: path.into() }, file))
    }

    /// Puts it in its place, in that of what was there before, when all of it is on the disk.
    pub fn complete(self, file: &File) -> io::Result<()> {
        file.sync_all()?;
        fs::rename(&self.at, &self.path)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Nothing more can be done about a file that can't be removed, and the error that led here is on its way already.
        let _ = fs::remove_file(&self.at);
    }
}
