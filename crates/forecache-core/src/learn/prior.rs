//! What is known before anything was seen: hits by class and age that other traffic had.
//!
//! A prior is a table: for each class (see `features.rs`) and each half octave of age, relative to the
//! number of entries, hits an octave of waiting. It holds statistics of many traces pooled, and no trace. `train.rs` makes it.
//!
//! The file, little endian: `FCPRIOR` and a zero byte; the version, u16, now 1; rows, u16; columns, u16; the logarithm to base 2 of the
//! relative age at which the first column begins, i16; the table, row by row, a byte a number; CRC-32 of all before, u32. A byte of 0 is
//! no hits, another one is `2^((byte - 200) / 10)` hits.

use super::features::{CLASSES, LOW, parts};

/// Half octaves of relative age.
pub const COLUMNS: usize = 44;
/// Where the first begins, as a power of 2.
pub const BEGIN: i32 = -18;
const MAGIC: &[u8; 8] = b"FCPRIOR\0";
const VERSION: u16 = 1;
const HEADER: usize = 16;
/// Bytes of a file.
pub const LENGTH: usize = HEADER + CLASSES * COLUMNS + 4;

/// See the head of this file.
#[derive(Debug, Clone, PartialEq)]
pub struct Prior(Box<[u8]>);

impl Prior {
    /// A prior from hits an octave, in rows of [`COLUMNS`].
    pub fn of(rates: &[f32]) -> Self {
        assert_eq!(rates.len(), CLASSES * COLUMNS);
        let byte = |rate: &f32| if *rate > 0.0 { (rate.log2() * 10.0 + 200.0).round().clamp(1.0, 255.0) as u8 } else { 0 };
        Prior(rates.iter().map(byte).collect())
    }

    /// What a file holds.
    pub fn read(file: &[u8]) -> Result<Self, String> {
        if file.len() < HEADER || &file[..8] != MAGIC {
            return Err("is no model; expected a file that `forecache train` or `cache.model.save` wrote".into());
        }
        let number = |at: usize| u16::from_le_bytes([file[at], file[at + 1]]);
        if number(8) != VERSION {
            return Err(format!("is of version {}; this forecache reads version {VERSION}, so train it anew", number(8)));
        }
        let (rows, columns, begin) = (number(10), number(12), number(14) as i16);
        if (rows as usize, columns as usize, i32::from(begin)) != (CLASSES, COLUMNS, BEGIN) {
            return Err(format!("has {rows} x {columns} numbers from 2^{begin}; expected {CLASSES} x {COLUMNS} from 2^{BEGIN}"));
        }
        if file.len() != LENGTH {
            return Err(format!("has {} bytes; expected {LENGTH}", file.len()));
        }
        let (body, sum) = file.split_at(LENGTH - 4);
        if crc32fast::hash(body).to_le_bytes() != sum {
            return Err("is damaged: its checksum is wrong".into());
        }
        Ok(Prior(body[HEADER..].into()))
    }

    /// The file that holds it.
    pub fn write(&self) -> Vec<u8> {
        let mut file = MAGIC.to_vec();
        let shape = [VERSION, CLASSES as u16, COLUMNS as u16, BEGIN as i16 as u16];
        shape.iter().for_each(|number| file.extend(number.to_le_bytes()));
        file.extend(&self.0);
        file.extend(crc32fast::hash(&file).to_le_bytes());
        file
    }

    /// The one that ships.
    pub fn shipped() -> Self {
        Prior::read(include_bytes!("prior.fcp")).expect("a test reads it")
    }

    /// None: hits become rarer with age, and the frequent have more of them.
    pub fn none() -> Self {
        let rate = |at: usize| {
            let (age, (frequency, ..)) = (middle(at % COLUMNS).exp2(), parts(at / COLUMNS));
            0.3 * (1 + frequency) as f32 * std::f32::consts::LN_2 * age / (age + 0.05)
        };
        Prior::of(&(0..CLASSES * COLUMNS).map(rate).collect::<Vec<_>>())
    }

    /// Hits an octave in a column.
    pub fn rate(&self, class: usize, column: usize) -> f32 {
        rate(self.0[class * COLUMNS + column])
    }

    /// The chance of a hit in a bucket of age in a cache of so many entries, for an entry of this class.
    pub fn chance(&self, class: usize, bucket: usize, entries: u32) -> f32 {
        let (low, high) = (LOW[bucket] + 0.5, LOW[bucket + 1] + 0.5);
        let column = column(((low + high) * 0.5 / entries as f32).log2()).clamp(0.0, COLUMNS as f32 - 1.001);
        let (left, part) = (column as usize, column.fract());
        let rate = self.rate(class, left) * (1.0 - part) + self.rate(class, left + 1) * part;
        (1.0 - (-rate * (high / low).log2()).exp()).clamp(1e-7, 0.98)
    }
}

fn rate(byte: u8) -> f32 {
    if byte == 0 { 0.0 } else { ((f32::from(byte) - 200.0) / 10.0).exp2() }
}

/// Where the logarithm of a relative age falls, counted from the middle of the first column.
pub fn column(logarithm: f32) -> f32 {
    (logarithm - BEGIN as f32) * 2.0 - 0.5
}

/// The logarithm of the relative age in the middle of a column.
pub fn middle(column: usize) -> f32 {
    BEGIN as f32 + (column as f32 + 0.5) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_ships_can_be_read() {
        assert!(Prior::shipped() != Prior::none());
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(Prior::read(&Prior::none().write()), Ok(Prior::none()));
    }

    #[test]
    fn a_wrong_file_is_refused_with_what_is_wrong() {
        let good = Prior::none().write();
        let changed = |at: usize, byte: u8| {
            let mut file = good.clone();
            file[at] = byte;
            Prior::read(&file).unwrap_err()
        };
        assert!(Prior::read(b"").unwrap_err().contains("is no model"));
        assert!(changed(0, b'X').contains("is no model"));
        assert!(changed(8, 9).contains("version 9; this forecache reads version 1"));
        assert!(changed(10, 4).contains("has 260 x 44 numbers"));
        assert!(changed(99, good[99] ^ 1).contains("checksum"));
        assert!(Prior::read(&good[..good.len() - 1]).unwrap_err().contains("bytes; expected"));
    }

    proptest! {
        #[test]
        fn whatever_a_file_holds_it_is_refused_or_tells_chances(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0usize..LENGTH - 4, byte in any::<u8>()) {
            prop_assert!(Prior::read(&bytes).is_err());
            let mut prior = Prior::none();
            prior.0[at % (CLASSES * COLUMNS)] = byte;
            for bucket in 0..super::super::features::AGES {
                let chance = prior.chance(at % CLASSES, bucket, 1 + at as u32);
                prop_assert!((1e-7..=0.98).contains(&chance));
            }
        }
    }
}
