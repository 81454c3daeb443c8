//! Amounts of CPU, memory and disk. Millicores, MiB and GiB inside; cores (a decimal) in JSON.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! amount {
    ($(#[$doc:meta])* $name:ident, $unit:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);
        impl $name {
            /// What is left after taking `other` away; zero if it is more.
            #[must_use]
            pub fn saturating_sub(self, other: Self) -> Self {
                Self(self.0.saturating_sub(other.0))
            }
        }
        impl Add for $name {
            type Output = Self;
            fn add(self, other: Self) -> Self {
                Self(self.0.saturating_add(other.0))
            }
        }
        impl AddAssign for $name {
            fn add_assign(&mut self, other: Self) {
                *self = *self + other;
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{} {}", self.0, $unit)
            }
        }
    };
}

amount!(
    /// Thousandths of a CPU core. A decimal number of cores in JSON.
    Millicores,
    "millicores"
);
amount!(
    /// Binary megabytes (2^20 bytes); what the wire calls MB.
    Mebibytes,
    "MiB"
);
amount!(
    /// Binary gigabytes (2^30 bytes); what the wire calls GB.
    Gibibytes,
    "GiB"
);

impl Serialize for Millicores {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if self.0.is_multiple_of(1000) {
            to.serialize_u64(self.0 / 1000)
        } else {
            // Exact enough: below 2^53 the division and the parse round to the same millicore.
            #[allow(clippy::cast_precision_loss)]
            to.serialize_f64(self.0 as f64 / 1000.0)
        }
    }
}

impl<'de> Deserialize<'de> for Millicores {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let cores = f64::deserialize(from)?;
        let millis = (cores * 1000.0).round();
        if !(0.0..=1e12).contains(&millis)
            || (cores * 1000.0 - millis).abs() > 1e-6 * millis.max(1.0)
        {
            let rule = "expected cores as a number of 0 or more with at most 3 decimals";
            return Err(serde::de::Error::custom(format!(
                "{cores} is not an amount of CPU; {rule}"
            )));
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Ok(Self(millis as u64))
    }
}

macro_rules! whole_number {
    ($($name:ident),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_u64(self.0)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                u64::deserialize(from).map(Self)
            }
        }
    )*};
}
whole_number!(Mebibytes, Gibibytes);

/// What a workload asks for, or what is taken on a node.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(default, deny_unknown_fields)]
pub struct Resources {
    /// CPU; cores in JSON.
    pub cpu: Millicores,
    /// Memory in MiB.
    pub memory_mb: Mebibytes,
    /// Disk in GiB.
    pub disk_gb: Gibibytes,
}

impl Resources {
    /// Amounts of CPU in millicores, memory in MiB, disk in GiB.
    #[must_use]
    pub const fn new(cpu: u64, memory: u64, disk: u64) -> Self {
        Self {
            cpu: Millicores(cpu),
            memory_mb: Mebibytes(memory),
            disk_gb: Gibibytes(disk),
        }
    }
}

impl Add for Resources {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            cpu: self.cpu + other.cpu,
            memory_mb: self.memory_mb + other.memory_mb,
            disk_gb: self.disk_gb + other.disk_gb,
        }
    }
}

impl AddAssign for Resources {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Resources {
    type Output = Self;
    /// Saturating: never below zero in any dimension.
    fn sub(self, other: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(other.cpu),
            memory_mb: self.memory_mb.saturating_sub(other.memory_mb),
            disk_gb: self.disk_gb.saturating_sub(other.disk_gb),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_decimals_in_json() {
        let of = |text: &str| serde_json::from_str::<Millicores>(text);
        assert_eq!(of("2").unwrap(), Millicores(2000));
        assert_eq!(of("0.25").unwrap(), Millicores(250));
        assert_eq!(serde_json::to_string(&Millicores(250)).unwrap(), "0.25");
        assert_eq!(serde_json::to_string(&Millicores(4000)).unwrap(), "4");
        for bad in ["-1", "0.0001", "1e30", "\"2\""] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn amounts_add_up_in_every_dimension() {
        let mut sum = Resources::new(1, 2, 3);
        sum += Resources::new(10, 20, 30);
        assert_eq!(sum, Resources::new(11, 22, 33));
        assert_eq!(sum - Resources::new(1, 30, 3), Resources::new(10, 0, 30));
    }

    #[test]
    fn every_millicore_survives_the_decimal() {
        for millis in (0..100_000).chain([123_456_789, 999_999_999]) {
            let text = serde_json::to_string(&Millicores(millis)).unwrap();
            assert_eq!(
                serde_json::from_str::<Millicores>(&text).unwrap(),
                Millicores(millis)
            );
        }
    }
}
