//! The reference node agent as a pure state machine
