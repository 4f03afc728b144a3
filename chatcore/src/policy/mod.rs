//! The business rules: pure functions over the model. No I/O, no clock.
//!
//! Stores call them inside their atomic step, with what that step itself read, so that a rule is written once and no
//! race slips between the check and the write.

pub mod friendship;
pub mod room;
