//! Files in memory: words that processes share.

use memmap2::{MmapOptions, MmapRaw, UncheckedAdvice};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU32, AtomicU64};

/// Files grow and shrink by blocks of so many bytes.
pub const BLOCK: u64 = 4096;

/// The next multiple of [`BLOCK`].
pub const fn blocks(bytes: u64) -> u64 {
    bytes.div_ceil(BLOCK) * BLOCK
}

/// A mapped file. All access goes through atomic words: other processes write to it at any time.
pub struct Mapped(MmapRaw);

impl Mapped {
    /// The first `length` bytes of a file that has as many. They are allocated, so that a full disk can't make a store to them fail.
    pub fn new(file: &File, length: u64) -> io::Result<Self> {
        let length = usize::try_from(length).map_err(|_| io::ErrorKind::FileTooLarge)?;
        MmapOptions::new().len(length).map_raw(file).map(Mapped)
    }

    /// The same of a file that may only be read. Nothing is to be stored: it would stay in this process, and hide what others store beside it.
    pub fn to_read(file: &File, length: u64) -> io::Result<Self> {
        let length = usize::try_from(length).map_err(|_| io::ErrorKind::FileTooLarge)?;
        // SAFETY: nobody but through atomics reads or writes it, as in `words`.
        unsafe { MmapOptions::new().len(length).map_copy(file) }.map(|map| Mapped(map.into()))
    }

    /// All of it.
    #[inline]
    pub fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping begins at a page, is readable and writable and lives as long as `self`, and nobody but through
        // atomics writes to it.
        unsafe { std::slice::from_raw_parts(self.0.as_mut_ptr().cast(), self.0.len() / 8) }
    }

    /// Half words from the byte `from` on.
    #[inline]
    pub fn halves(&self, from: usize, count: usize) -> &[AtomicU32] {
        assert!(from % 4 == 0 && from + count * 4 <= self.0.len());
        // SAFETY: as in `words`; what is asked for lies inside, as was just found.
        unsafe { std::slice::from_raw_parts(self.0.as_mut_ptr().add(from).cast(), count) }
    }

    /// Bytes.
    pub fn length(&self) -> u64 {
        self.0.len() as u64
    }

    /// Waits until what was stored would survive a crash of the machine.
    pub fn sync(&self) -> io::Result<()> {
        self.0.flush()
    }

    /// The words `from..to` aren't needed soon: they needn't count as this process's memory.
    pub fn release(&self, from: usize, to: usize) {
        let (from, to) = (from * 8 / BLOCK as usize * BLOCK as usize, (to * 8).min(self.0.len()));
        // SAFETY: the pages of a shared mapping of a file stay as they are in the file's cache. A failure costs memory only.
        let _ = unsafe { self.0.unchecked_advise_range(UncheckedAdvice::DontNeed, from, to.saturating_sub(from)) };
    }
}

/// Has the processor bring what lies there into its cache while it does something else.
#[inline]
pub fn prefetch<T>(_place: &T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: it is a hint only, for an address of something that is there.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(_place).cast());
    }
}

/// Gives a file the bytes `from..to`, zeroed where it was shorter, with blocks of the disk behind them.
pub fn allocate(file: &File, from: u64, to: u64) -> io::Result<()> {
    if to <= from {
        return Ok(());
    }
    #[cfg(target_os = "linux")]
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), from, to - from) {
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
        other => return Ok(other?),
    }
    let zeros = vec![0; (to - from).min(1 << 20) as usize];
    let mut at = from;
    while at < to {
        let part = zeros.len().min((to - at) as usize);
        file.write_all_at(&zeros[..part], at)?;
        at += part as u64;
    }
    Ok(())
}
