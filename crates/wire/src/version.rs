// SPDX-License-Identifier: Apache-2.0
//! Versions of clients and brokers. They travel as a number: the place in the reference's list of all versions.

/// What the versions before the first release were called.
const EARLY: [&str; 16] = [
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

/// Series of versions: the number of the first, what it is called, and how many versions it and each series behind it have.
/// Each version counts twice, as a snapshot and as itself.
const SERIES: [(i32, [i32; 3], i32); 4] = [
    (16, [3, 0, 1], 15),
    (46, [3, 1, 0], 10),
    (86, [3, 3, 1], 9),
    (212, [4, 0, 0], 10),
];

/// The first number that stands for no version yet.
const UNKNOWN: i32 = 612;

/// The name of a version.
pub fn name(number: i32) -> String {
    let Ok(place) = usize::try_from(number) else {
        return number.to_string();
    };
    if let Some(name) = EARLY.get(place) {
        return (*name).to_owned();
    }
    if number >= UNKNOWN {
        return "HIGHER_VERSION".to_owned();
    }
    let mut series = SERIES.into_iter();
    let found = series.rfind(|(first, ..)| *first <= number);
    let (first, [major, minor, patch], count) = found.unwrap_or_default();
    let (at, is_release) = ((number - first) / 2, (number - first) % 2 == 1);
    let minors = minor + at / count.max(1);
    let (major, minor) = (major + minors / 10, minors % 10);
    let suffix = if is_release { "" } else { "_SNAPSHOT" };
    format!("V{major}_{minor}_{}{suffix}", patch + at % count.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_called_as_the_reference_calls_it() {
        // Read from the list of 5.4.0: each place where the rule changes, and the ends.
        let known = [
            (0, "V3_0_0_SNAPSHOT"),
            (15, "V3_0_0_FINAL"),
            (16, "V3_0_1_SNAPSHOT"),
            (45, "V3_0_15"),
            (46, "V3_1_0_SNAPSHOT"),
            (66, "V3_2_0_SNAPSHOT"),
            (85, "V3_2_9"),
            (86, "V3_3_1_SNAPSHOT"),
            (104, "V3_4_1_SNAPSHOT"),
            (211, "V3_9_9"),
            (212, "V4_0_0_SNAPSHOT"),
            (411, "V4_9_9"),
            (412, "V5_0_0_SNAPSHOT"),
            (493, "V5_4_0"),
            (611, "V5_9_9"),
            (612, "HIGHER_VERSION"),
            (9_999, "HIGHER_VERSION"),
            (-1, "-1"),
        ];
        for (number, expected) in known {
            assert_eq!(name(number), expected, "{number}");
        }
    }
}
