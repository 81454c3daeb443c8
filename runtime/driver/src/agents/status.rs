//! What gRPC statuses of agents mean.

use std::error::Error;

use tonic::{Code, ConnectError, Status};

/// A code's name as Go writes it: what existing dashboards show.
#[must_use]
pub const fn go_code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "Canceled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}

/// Whether there was a connection, so that the request may have left. Judged by the type of the
/// error's cause, never by its text.
#[must_use]
pub fn had_connection(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<ConnectError>() {
            return false;
        }
        cause = error.source();
    }
    true
}

/// The whole chain of causes: `tonic`'s own message is only "transport error".
#[must_use]
pub fn describe(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut cause = status.source();
    while let Some(error) = cause {
        let part = error.to_string();
        if !text.contains(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_connection_is_told_by_the_cause() {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let status = Status::from_error(Box::new(ConnectError(refused.into())));
        assert!(!had_connection(&status));
        assert!(
            describe(&status).contains("refused"),
            "{}",
            describe(&status)
        );
        let lost = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        assert!(had_connection(&Status::from_error(Box::new(lost))));
        assert!(had_connection(&Status::unavailable("tcp connect error")));
    }
}
