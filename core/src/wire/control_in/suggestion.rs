//! Suggestions of automation services.

use berth_proto::control::v1 as control;
use control::AutomationActionType as Wire;

use super::{WireError, desired_state, invalid, malformed};
use crate::io::request::{SuggestedAction, Suggestion};
use crate::wire::bound::{FIELD_BYTES_MAX, bounded};

/// The longest name of a policy that is kept, in bytes.
const POLICY_BYTES_MAX: usize = 256;

/// A suggestion.
///
/// # Errors
/// [`WireError::Malformed`] when it is absent or its action is no number of the enum;
/// [`WireError::InvalidSpec`], to be answered in band, for a target, an action or a desired state
/// that cannot be acted on.
pub fn suggestion(
    message: control::SubmitAutomationSuggestionRequest,
) -> Result<Suggestion, WireError> {
    let Some(told) = message.suggestion else {
        return Err(malformed("suggestion", "is absent"));
    };
    let action = Wire::try_from(told.action_type).map_err(|_| {
        let problem = format!("{} is no action; expected 1 to 4", told.action_type);
        malformed("suggestion.action_type", problem)
    })?;
    let workload = told
        .target_workload
        .parse()
        .map_err(|error| invalid("suggestion.target_workload", error))?;
    let action = match action {
        Wire::Unspecified => {
            return Err(invalid("suggestion.action_type", "is not set"));
        }
        Wire::AutomationActionSetDesiredState => {
            let field = "suggestion.desired_state";
            let wanted = desired_state(field, &told.desired_state)?
                .ok_or_else(|| invalid(field, "is empty; expected Running, Stopped or Deleted"))?;
            SuggestedAction::SetDesiredState(wanted)
        }
        Wire::AutomationActionRetryWorkload => SuggestedAction::Retry,
        Wire::AutomationActionDeleteWorkload => SuggestedAction::Delete,
        Wire::AutomationActionScaleReplicas => SuggestedAction::Scale,
    };
    let policy = if told.policy_id.is_empty() {
        &told.policy_name
    } else {
        &told.policy_id
    };
    Ok(Suggestion {
        policy: bounded(policy, POLICY_BYTES_MAX),
        workload,
        action,
        reason: bounded(&told.reason, FIELD_BYTES_MAX),
    })
}
