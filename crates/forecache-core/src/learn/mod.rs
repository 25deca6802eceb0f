//! What the policy `learned` knows: when entries are asked for again, learned from when they were.
//!
//! An entry is described by its *class*, fixed at its last access, and its *age* since then (`features.rs`). For each class and age it is
//! counted how often an entry was asked for and how long entries waited, whether they were still there or not (`outcome.rs`). A table
//! of other traffic (`prior.rs`), corrected by these counts, gives the chance of a hit at each age (`hazard.rs`), and
//! that the worth of an entry: the best ratio of expected hits to expected time (`index.rs`). What left is remembered in
//! eight bytes (`ghosts.rs`), and who leaves is found by looking at a few (`sampling.rs`). `policy/learned/` puts it together, `judge.rs` says
//! how right it was, and `train.rs` makes a prior of traces. `logistic.rs` and `drawing.rs` are for policies to compare with.
//!
//! Relatives: Song, Berger, Li and Lloyd, "Learning relaxed Belady for content distribution network caching" (LRB, NSDI 2020), which
//! learns the time of the next request, with boosted trees; Beckmann, Chen and Cidon, "LHD: improving cache hit rate by maximizing hit density"
//! (NSDI 2018), whose worth is the same without pooling or prior; Zhou and others, "3L-Cache" (FAST 2025), and Song and others, "HALP"
//! (NSDI 2023), which learn over a sample of candidates.

pub mod ablation;
pub mod census;
pub mod drawing;
pub mod features;
pub mod ghosts;
pub mod hazard;
pub mod index;
pub mod judge;
pub mod logistic;
pub mod model;
pub mod outcome;
pub mod prior;
pub mod sampling;
pub mod train;
