//! Policy inside the metadata of a spec: the control protocol has no fields for it.

use std::collections::BTreeMap;

use super::{WireError, invalid};
use crate::admission::limits::RESERVED_PREFIX;
use crate::model::id::TenantId;
use crate::model::spec::Constraints;
use crate::wire::bound::{entry, quoted};

/// `berth/label.<key>=<value>`: a label that the node must have.
pub const LABEL_PREFIX: &str = "berth/label.";
/// The tenant.
pub const TENANT_KEY: &str = "berth/tenant";
/// The priority, a whole number.
pub const PRIORITY_KEY: &str = "berth/priority";
/// The label key to spread over.
pub const SPREAD_BY_KEY: &str = "berth/spread-by";
/// The anti-affinity group.
pub const ANTI_AFFINITY_KEY: &str = "berth/anti-affinity";
/// After this many failures the workload is `Failed`.
pub const MAX_ATTEMPTS_KEY: &str = "berth/max-attempts";

/// What the keys below `berth/` say.
#[derive(Debug, Default)]
pub(super) struct Policy {
    pub(super) constraints: Constraints,
    pub(super) tenant: Option<TenantId>,
    pub(super) priority: i32,
    pub(super) max_attempts: Option<u32>,
}

/// Takes the scheduler's own keys out; what is left is the user's and reaches the agent unchanged.
pub(super) fn take_policy(
    metadata: BTreeMap<String, String>,
) -> Result<(Policy, BTreeMap<String, String>), WireError> {
    let mut policy = Policy::default();
    let mut user = BTreeMap::new();
    for (key, value) in metadata {
        if !key.starts_with(RESERVED_PREFIX) {
            user.insert(key, value);
            continue;
        }
        let field = || entry("spec.metadata", &key);
        let number = |error: &dyn std::fmt::Display| {
            invalid(
                field(),
                format!("{} is not a whole number in range: {error}", quoted(&value)),
            )
        };
        match key.as_str() {
            TENANT_KEY => {
                policy.tenant = Some(value.parse().map_err(|error| invalid(field(), error))?);
            }
            PRIORITY_KEY => {
                policy.priority = value.trim().parse().map_err(|error| number(&error))?;
            }
            MAX_ATTEMPTS_KEY => {
                policy.max_attempts = Some(value.trim().parse().map_err(|error| number(&error))?);
            }
            SPREAD_BY_KEY => policy.constraints.spread_by = Some(value),
            ANTI_AFFINITY_KEY => policy.constraints.anti_affinity = Some(value),
            _ => match key.strip_prefix(LABEL_PREFIX) {
                Some(label) => {
                    policy.constraints.labels.insert(label.to_owned(), value);
                }
                None => {
                    let problem = format!(
                        "is not known; below {RESERVED_PREFIX} there are label.<key>, tenant, \
                         priority, spread-by, anti-affinity, max-attempts"
                    );
                    return Err(invalid(field(), problem));
                }
            },
        }
    }
    Ok((policy, user))
}
