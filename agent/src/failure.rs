//! Why a workload does not run, typed.

use std::fmt;
use std::str::FromStr;

use berth_proto::control::v1::FailureReason;
use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal => $reason:ident,)*) => {
        /// The kinds of failure that an agent reports. The text is what `failure_reason` carries
        /// in a status' metadata; existing agents use the same names.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum FailureCode {
            $($(#[$doc])* #[serde(rename = $text)] $name,)*
        }

        impl FailureCode {
            /// All codes, in order.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The code on the wire.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }

            /// The reason that a heartbeat gives for it.
            #[must_use]
            pub const fn reason(self) -> FailureReason {
                match self { $(Self::$name => FailureReason::$reason),* }
            }
        }
    };
}

codes! {
    /// The image does not exist. Cannot heal.
    ImageNotFound = "IMAGE_NOT_FOUND" => ImageNotFound,
    /// The image is malformed. Cannot heal.
    InvalidImage = "INVALID_IMAGE" => ImageNotFound,
    /// The image did not arrive in time.
    ImagePullTimeout = "IMAGE_PULL_TIMEOUT" => ImagePullFailed,
    /// The registry refused the agent.
    ImagePullAuthFailed = "IMAGE_PULL_AUTH_FAILED" => ImagePullFailed,
    /// A network did not answer in time.
    NetworkTimeout = "NETWORK_TIMEOUT" => NetworkError,
    /// A network cannot be reached.
    NetworkUnreachable = "NETWORK_UNREACHABLE" => NetworkError,
    /// A name did not resolve.
    DnsResolutionFailed = "DNS_RESOLUTION_FAILED" => NetworkError,
    /// A port is taken.
    PortBindConflict = "PORT_BIND_CONFLICT" => NetworkError,
    /// The node has too little of something.
    InsufficientResources = "INSUFFICIENT_RESOURCES" => InsufficientResources,
    /// A limit of the node was reached.
    ResourceQuotaExceeded = "RESOURCE_QUOTA_EXCEEDED" => InsufficientResources,
    /// A file system is full.
    StorageFull = "STORAGE_FULL" => StorageError,
    /// A volume could not be made.
    StorageProvisionFailed = "STORAGE_PROVISION_FAILED" => StorageError,
    /// A volume could not be attached.
    StorageAttachFailed = "STORAGE_ATTACH_FAILED" => StorageError,
    /// The spec cannot be run. Cannot heal.
    InvalidSpecification = "INVALID_SPECIFICATION" => InvalidSpec,
    /// The configuration cannot be run. Cannot heal.
    InvalidConfiguration = "INVALID_CONFIGURATION" => InvalidSpec,
    /// The cloud-init data cannot be used. Cannot heal.
    CloudInitInvalid = "CLOUD_INIT_INVALID" => InvalidSpec,
    /// The runtime failed, or the workload ended by itself.
    RuntimeError = "RUNTIME_ERROR" => RuntimeError,
    /// The runtime itself is not well.
    RuntimeUnhealthy = "RUNTIME_UNHEALTHY" => RuntimeError,
    /// The node has no runtime for this kind of workload.
    RuntimeUnavailable = "RUNTIME_UNAVAILABLE" => RuntimeError,
    /// The virtual machine does not boot.
    VmBootFailed = "VM_BOOT_FAILED" => VmBootFailed,
    /// What ran is not there any more, and how it ended is not known.
    RuntimeResourceMissing = "RUNTIME_RESOURCE_MISSING" => RuntimeError,
    /// Something else.
    Unknown = "UNKNOWN_ERROR" => RuntimeError,
}

impl FailureCode {
    /// Whether another try of the same revision may succeed.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        !matches!(
            self.reason(),
            FailureReason::ImageNotFound | FailureReason::InvalidSpec
        )
    }
}

impl fmt::Display for FailureCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.text())
    }
}

/// A text that names no failure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a failure code")]
pub struct UnknownFailureCode(pub String);

impl FromStr for FailureCode {
    type Err = UnknownFailureCode;

    fn from_str(text: &str) -> Result<Self, UnknownFailureCode> {
        let found = Self::ALL.iter().find(|code| code.text() == text);
        found
            .copied()
            .ok_or_else(|| UnknownFailureCode(text.to_owned()))
    }
}

/// A failure, with a text that a person can act on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Its kind.
    pub code: FailureCode,
    /// For people; bounded by [`bounded`].
    pub message: String,
}

impl Failure {
    /// A failure with its text, which is bounded here.
    #[must_use]
    pub fn new(code: FailureCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: bounded(message.into()),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

/// The longest text that is kept or sent, in bytes.
pub const TEXT_LENGTH_MAX: usize = 4096;

/// The text, cut at a character's border to at most [`TEXT_LENGTH_MAX`] bytes.
#[must_use]
pub fn bounded(mut text: String) -> String {
    if text.len() > TEXT_LENGTH_MAX {
        let cut = (0..=TEXT_LENGTH_MAX)
            .rev()
            .find(|at| text.is_char_boundary(*at));
        text.truncate(cut.unwrap_or(0));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_reads_back() {
        for code in FailureCode::ALL {
            assert_eq!(code.text().parse::<FailureCode>().as_ref(), Ok(code));
            assert_eq!(
                serde_json::to_string(code).unwrap(),
                format!("{:?}", code.text())
            );
        }
        assert!("image_not_found".parse::<FailureCode>().is_err());
    }

    #[test]
    fn what_cannot_heal_is_not_retryable() {
        assert!(!FailureCode::ImageNotFound.is_retryable());
        assert!(!FailureCode::InvalidSpecification.is_retryable());
        assert!(FailureCode::RuntimeError.is_retryable());
    }

    #[test]
    fn texts_are_cut_at_a_border() {
        let long = "ä".repeat(TEXT_LENGTH_MAX);
        let cut = bounded(format!("x{long}"));
        assert_eq!(cut.len(), TEXT_LENGTH_MAX - 1);
        assert_eq!(bounded("short".to_owned()), "short");
    }
}
