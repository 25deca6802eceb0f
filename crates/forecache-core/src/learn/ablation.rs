//! What the model does without: for the table of what helps and by how much (`examples/ablation.rs`). Nothing is left out, and nothing
//! asked at run time, unless the feature `ablation` is on.

use super::features::BEFORES;

/// Something that can be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Part {
    /// Nothing.
    None,
    /// How often an entry was used.
    Frequency,
    /// The gap between its last two uses.
    Gap,
    /// The gap before.
    Before,
    /// What ages lend their neighbours.
    Neighbours,
    /// Corrections but the one that all classes share.
    Classes,
    /// All corrections.
    Corrections,
}

#[cfg(feature = "ablation")]
mod chosen {
    use super::Part;
    use std::sync::atomic::{AtomicU8, Ordering};

    static WITHOUT: AtomicU8 = AtomicU8::new(0);

    /// Leaves this part out from now on, everywhere.
    pub fn leave_out(part: Part) {
        WITHOUT.store(part as u8, Ordering::Relaxed);
    }

    pub(super) fn without(part: Part) -> bool {
        WITHOUT.load(Ordering::Relaxed) == part as u8
    }
}

#[cfg(not(feature = "ablation"))]
mod chosen {
    #[inline(always)]
    pub(super) fn without(_: super::Part) -> bool {
        false
    }
}

#[cfg(feature = "ablation")]
pub use chosen::leave_out;
use chosen::without;

/// What of a class's frequency, gap and gap before is known.
#[inline(always)]
pub(super) fn known(frequency: usize, gap: usize, before: usize) -> (usize, usize, usize) {
    let frequency = if without(Part::Frequency) { frequency.min(2) } else { frequency };
    let gap = if without(Part::Gap) { 0 } else { gap };
    let before = if without(Part::Before) { BEFORES - 1 } else { before };
    (frequency, gap, before)
}

/// Rounds of corrections that are made, of so many.
pub(super) fn rounds(all: usize) -> usize {
    if without(Part::Corrections) {
        0
    } else if without(Part::Classes) {
        1
    } else {
        all
    }
}

/// What an age lends the next.
pub(super) fn lent(usually: f32) -> f32 {
    if without(Part::Neighbours) { 0.0 } else { usually }
}
