//! The scheduler as one pure state machine
