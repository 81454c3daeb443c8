//! Suggestions.

use berth_proto::control::v1 as control;

use super::told;
use crate::io::request::SuggestedAction;
use crate::model::workload::DesiredState;
use crate::wire::WireError;
use crate::wire::control_in::suggestion;

fn suggested(
    action: i32,
    target: &str,
    state: &str,
) -> Result<crate::io::request::Suggestion, WireError> {
    suggestion(control::SubmitAutomationSuggestionRequest {
        suggestion: Some(control::AutomationSuggestion {
            policy_name: "busy".into(),
            target_workload: target.into(),
            action_type: action,
            desired_state: state.into(),
            reason: "x".repeat(100_000),
            ..Default::default()
        }),
    })
}

#[test]
fn actions() {
    use SuggestedAction::*;
    for (number, state, action) in [
        (1, "stop", SetDesiredState(DesiredState::Stopped)),
        (1, "Deleted", SetDesiredState(DesiredState::Deleted)),
        (2, "ignored", Retry),
        (3, "", Delete),
        (4, "", Scale),
    ] {
        let told = suggested(number, "w", state).unwrap();
        assert_eq!((told.action, told.policy.as_str()), (action, "busy"));
        assert!(told.reason.len() < 5_000);
    }
}

#[test]
fn refusals() {
    for (number, target, state, kind, field) in [
        (0, "w", "", "spec", "suggestion.action_type"),
        (5, "w", "", "malformed", "suggestion.action_type"),
        (-1, "w", "", "malformed", "suggestion.action_type"),
        (1, "w", "", "spec", "suggestion.desired_state"),
        (1, "w", "up", "spec", "suggestion.desired_state"),
        (2, "", "", "spec", "suggestion.target_workload"),
        (2, "A/b", "", "spec", "suggestion.target_workload"),
    ] {
        assert_eq!(
            told(&suggested(number, target, state).unwrap_err()),
            (kind, field)
        );
    }
    let absent = suggestion(control::SubmitAutomationSuggestionRequest { suggestion: None });
    assert_eq!(told(&absent.unwrap_err()), ("malformed", "suggestion"));
    let number = suggested(5, "w", "").unwrap_err().to_string();
    assert!(number.contains('5'), "the value is told: {number}");
}
