//! The command-line client of Berth, over REST
