//! bitsandbytes NF4.
pub mod statistics;
