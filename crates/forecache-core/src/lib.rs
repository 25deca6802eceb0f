//! The core of forecache: pure Rust, no Python, no network, and no thread of its own but while it records.
//!
//! A [`store::Store`] holds weighted entries, asks a [`policy::Policy`] which of them leave and returns those as values;
//! [`trace`] reads recordings of what real programs asked for, and [`simulate`] replays them through the very same store.

pub mod accuracy;
pub mod bare;
pub mod belady;
pub mod compress;
pub mod curve;
pub mod disk;
pub mod envelope;
pub mod expiry;
pub mod fingerprint;
pub mod groups;
pub mod histogram;
pub mod index;
pub mod learn;
pub mod list;
pub mod lockstep;
mod number;
pub mod owners;
pub mod pending;
pub mod policy;
mod prefetch;
pub mod record;
pub mod reply;
pub mod rooms;
pub mod shadow;
pub mod simulate;
pub mod store;
mod table;
mod tags;
pub mod trace;
