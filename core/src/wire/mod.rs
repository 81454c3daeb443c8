//! Conversions between the wire's messages and the core's types.
