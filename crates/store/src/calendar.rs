// SPDX-License-Identifier: Apache-2.0
//! Times for people: the reference names files by them and shows them to operators.

/// A local time in milliseconds since 1970 as the number `yyyyMMddHHmmssSSS`.
pub fn calendar(local_ms: i64) -> i64 {
    let day = local_ms.div_euclid(86_400_000);
    let ms = local_ms.rem_euclid(86_400_000);
    // Days of the civil calendar, counted in years that start in March.
    let since = day + 719_468;
    let era = since.div_euclid(146_097);
    let day_of_era = since.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let date = (year * 100 + month) * 100 + day_of_month;
    let time = (ms / 3_600_000 * 100 + ms / 60_000 % 60) * 100 + ms / 1000 % 60;
    (date * 1_000_000 + time) * 1000 + ms % 1000
}

#[cfg(test)]
mod tests {
    use super::calendar;

    #[test]
    fn a_time_is_what_the_calendar_says() {
        for (ms, name) in [
            (1_795_210_176_132, 20_261_120_212_936_132),
            (0, 19_700_101_000_000_000),
            (1_709_251_199_999, 20_240_229_235_959_999),
            (1_704_067_200_001, 20_240_101_000_000_001),
        ] {
            assert_eq!(calendar(ms), name);
        }
    }
}
