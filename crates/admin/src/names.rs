// SPDX-License-Identifier: Apache-2.0
//! What topics and groups may be called, by the reference's rules. Checked before anything is sent, so that a name such as
//! `../x` never reaches a server.

const TOPIC_MAX: usize = 127;
const RETRY_TOPIC_MAX: usize = 255;
const GROUP_MAX: usize = 120;

/// Why a name is no topic.
pub(crate) fn topic(name: &str) -> Result<(), String> {
    letters("topic", name)?;
    let made_of_group = name.starts_with("%RETRY%") || name.starts_with("%DLQ%");
    let most = if made_of_group { RETRY_TOPIC_MAX } else { TOPIC_MAX };
    length("topic", name, most)
}

/// Why a name is no group.
pub(crate) fn group(name: &str) -> Result<(), String> {
    letters("group", name)?;
    length("group", name, GROUP_MAX)
}

fn letters(what: &str, name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err(format!("the name of a {what} cannot be empty"));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '%' | '|' | '-' | '_');
    if name.chars().all(allowed) {
        Ok(())
    } else {
        Err(format!(
            "'{name}' cannot be the name of a {what}: only letters, digits and % | - _ are allowed"
        ))
    }
}

fn length(what: &str, name: &str, most: usize) -> Result<(), String> {
    if name.len() <= most {
        Ok(())
    } else {
        Err(format!(
            "the name of the {what} has {} characters, at most {most} are allowed",
            name.len()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_their_directory_are_refused() {
        assert!(topic("../etc").is_err());
        assert!(topic("a/b").is_err());
        assert!(topic("").is_err());
        assert!(topic(&"x".repeat(128)).is_err());
        assert!(topic("%RETRY%CG_x|y-1").is_ok());
        assert!(group(&"x".repeat(121)).is_err());
        assert!(group("CG").is_ok());
    }
}
