//! The disk tier.

pub mod doorkeeper;
pub mod judge;
