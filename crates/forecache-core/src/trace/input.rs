//! A file's bytes, unpacked if it is compressed as a whole.

use super::TraceError;
use flate2::bufread::MultiGzDecoder;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

const ZSTD: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];
const GZIP: [u8; 2] = [0x1F, 0x8B];
const BUFFER: usize = 1 << 17;

/// Bytes to read, with a count of those that were.
pub struct Input<'a> {
    path: &'a Path,
    reader: Box<dyn BufRead + 'a>,
    /// Bytes read so far, as they came out of the unpacking.
    pub at: u64,
    /// Whether the file is compressed as a whole.
    pub packed: bool,
}

impl<'a> Input<'a> {
    /// Opens the file and looks whether it is compressed.
    pub fn open(path: &'a Path) -> Result<Self, TraceError> {
        let unreadable = |error: io::Error| TraceError::whole(path, format!("can't be read: {error}"));
        let file = File::open(path).map_err(unreadable)?;
        Self::unpack(path, BufReader::with_capacity(BUFFER, file)).map_err(unreadable)
    }

    fn unpack(path: &'a Path, mut raw: impl BufRead + 'a) -> io::Result<Self> {
        let begin = raw.fill_buf()?;
        let (zstd, gzip) = (begin.starts_with(&ZSTD), begin.starts_with(&GZIP));
        let reader: Box<dyn BufRead> = if zstd {
            Box::new(BufReader::with_capacity(BUFFER, zstd::stream::read::Decoder::with_buffer(raw)?))
        } else if gzip {
            Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(raw)))
        } else {
            Box::new(raw)
        };
        Ok(Input { path, reader, at: 0, packed: zstd || gzip })
    }

    /// Some of the next bytes, which stay to be read.
    pub fn begin(&mut self) -> Result<&[u8], TraceError> {
        let (path, at) = (self.path, self.at);
        self.reader.fill_buf().map_err(|error| broken(path, at, &error))
    }

    /// Reads until `buffer` is full or the input ends, and says how much came.
    pub fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, TraceError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.reader.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.at += filled as u64;
                    return Err(broken(self.path, self.at, &error));
                }
            }
        }
        self.at += filled as u64;
        Ok(filled)
    }

    /// Fills the whole of `buffer`, with what it is (`what`) for the error if the input ends before.
    pub fn exactly(&mut self, buffer: &mut [u8], what: &str) -> Result<(), TraceError> {
        let from = self.at;
        let filled = self.fill(buffer)?;
        if filled < buffer.len() {
            let wanted = buffer.len();
            return Err(TraceError::at(
                self.path,
                from,
                format!("the file ends after {filled} of the {wanted} bytes of {what}: it is truncated"),
            ));
        }
        Ok(())
    }

    /// The rest, for readers that count for themselves.
    pub fn into_reader(self) -> Box<dyn BufRead + 'a> {
        self.reader
    }
}

/// The error of a reader that unpacks.
pub fn broken(path: &Path, at: u64, error: &io::Error) -> TraceError {
    TraceError::at(path, at, format!("can't be unpacked from here on, so the file is truncated or corrupt: {error}"))
}
