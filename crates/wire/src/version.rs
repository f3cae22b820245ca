// SPDX-License-Identifier: Apache-2.0
//! The names of the version ordinals that frames carry.

/// Those before 3.0.1 follow no rule.
const OLDEST: [&str; 16] = [
    "V3_0_0_SNAPSHOT",
    "V3_0_0_ALPHA1",
    "V3_0_0_BETA1",
    "V3_0_0_BETA2",
    "V3_0_0_BETA3",
    "V3_0_0_BETA4",
    "V3_0_0_BETA5",
    "V3_0_0_BETA6_SNAPSHOT",
    "V3_0_0_BETA6",
    "V3_0_0_BETA7_SNAPSHOT",
    "V3_0_0_BETA7",
    "V3_0_0_BETA8_SNAPSHOT",
    "V3_0_0_BETA8",
    "V3_0_0_BETA9_SNAPSHOT",
    "V3_0_0_BETA9",
    "V3_0_0_FINAL",
];

/// The reference's name of a version, such as `V5_4_0`. From 3.0.1 on every version has an ordinal, with that of its snapshot
/// before it.
pub fn version_name(ordinal: i32) -> String {
    let Ok(ordinal) = usize::try_from(ordinal) else {
        return OLDEST[0].to_owned();
    };
    let Some(rest) = ordinal.checked_sub(OLDEST.len()) else {
        return OLDEST[ordinal].to_owned();
    };
    let (mut number, is_snapshot) = (rest / 2, rest.is_multiple_of(2));
    for minor in 30..60 {
        let (first, last) = match minor {
            30 => (1, 15),
            33..40 => (1, 9),
            _ => (0, 9),
        };
        let patches = last - first + 1;
        if number < patches {
            let mark = if is_snapshot { "_SNAPSHOT" } else { "" };
            return format!("V{}_{}_{}{mark}", minor / 10, minor % 10, first + number);
        }
        number -= patches;
    }
    "HIGHER_VERSION".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinals_have_the_names_of_the_reference() {
        let table = [
            (-1, "V3_0_0_SNAPSHOT"),
            (15, "V3_0_0_FINAL"),
            (16, "V3_0_1_SNAPSHOT"),
            (45, "V3_0_15"),
            (46, "V3_1_0_SNAPSHOT"),
            (86, "V3_3_1_SNAPSHOT"),
            (121, "V3_4_9"),
            (300, "V4_4_4_SNAPSHOT"),
            (crate::frame::VERSION, "V5_4_0"),
            (611, "V5_9_9"),
            (612, "HIGHER_VERSION"),
            (9_999, "HIGHER_VERSION"),
        ];
        for (ordinal, name) in table {
            assert_eq!(version_name(ordinal), name, "{ordinal}");
        }
    }
}
