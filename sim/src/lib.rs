//! The seeded simulator: a world of clocks, networks, stores and faults around the real core
