//! Wire contracts of Berth: generated types only
