//! The store on disk: entries that several processes of a host share, within a budget of bytes.

pub mod counters;
