//! Writes our own format, record by record.

use super::block::Filling;
use super::bounds::{FACTS, NAME, ROWS, most_pages, pad};
use super::file::{BLOCK, END, header};
use super::{ALL_KEYS, Facts, Key, Operation, Row, TraceError, is_cost};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Small files are written once and read often.
const LEVEL: i32 = 19;

/// Writes to anything. Without [`Writer::finish`] what was written has no trailer, and no reader takes it.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    texts: bool,
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
        out.write_all(&header(facts, texts))?;
        Ok(Writer { out, texts, block: Filling::default(), blocks: 0, records: 0, accesses: 0, deletes: 0, time: 0 })
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
        let deletes = if row.operation == Operation::Delete { self.deletes.saturating_add(pages) } else { self.deletes };
        let accesses = self.accesses.saturating_add(pages);
        let others = accesses - deletes;
        if others.saturating_add(deletes.min(others)) > ROWS {
            return invalid(format!("the trace would have more than {ROWS} accesses; begin another"));
        }
        self.block.push(row, pages, self.texts);
        (self.records, self.accesses, self.deletes, self.time) = (self.records + 1, accesses, deletes, row.time);
        if self.block.is_full() { self.flush_block() } else { Ok(()) }
    }

    fn flush_block(&mut self) -> io::Result<()> {
        let records = self.block.len() as u32;
        let accesses = self.block.accesses();
        let raw = self.block.take();
        let mut packed = zstd::bulk::compress(&raw, LEVEL)?;
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
        self.out.write_all(&crc32fast::hash(bytes).to_le_bytes())
    }

    /// Writes what is left and the trailer, and gives back what was written to.
    pub fn finish(mut self) -> io::Result<W> {
        if self.block.len() > 0 {
            self.flush_block()?;
        }
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
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.partial", std::process::id()));
    let partial = Partial(path.with_file_name(name));
    let file = File::create(&partial.0).map_err(unwritable)?;
    let mut writer = Writer::new(BufWriter::new(file), facts, texts).map_err(unwritable)?;
    let result = fill(&mut writer)?;
    let file = writer.finish().and_then(|out| out.into_inner().map_err(io::Error::from)).map_err(unwritable)?;
    file.sync_all().map_err(unwritable)?;
    fs::rename(&partial.0, path).map_err(unwritable)?;
    Ok(result)
}

/// A file that is removed unless it was renamed.
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        // Nothing more can be done about a file that can't be removed, and the error that led here is on its way already.
        let _ = fs::remove_file(&self.0);
    }
}
