//! Changes of metadata and attributes.

use std::collections::BTreeMap;

use protocol::{error::Error, limits, token::Grant};

/// Applies a change: an empty text changes nothing, an attribute with an empty value is deleted. All or nothing; true
/// when something changed.
pub(crate) fn apply(
    grant: &mut Grant,
    name: &str,
    metadata: &str,
    changes: BTreeMap<String, String>,
) -> Result<bool, Error> {
    limits::check_name(name)?;
    limits::check_metadata(metadata)?;
    let mut attributes = grant.attributes.clone();
    for (key, value) in changes {
        if value.is_empty() {
            attributes.remove(&key);
        } else {
            attributes.insert(key, value);
        }
    }
    limits::check_attributes(&attributes)?;
    let new_name = !name.is_empty() && grant.name != name;
    let new_metadata = !metadata.is_empty() && grant.metadata != metadata;
    let changed = new_name || new_metadata || grant.attributes != attributes;
    if new_name {
        grant.name = name.to_owned();
    }
    if new_metadata {
        grant.metadata = metadata.to_owned();
    }
    grant.attributes = attributes;
    Ok(changed)
}
