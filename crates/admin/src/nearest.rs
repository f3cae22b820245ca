// SPDX-License-Identifier: Apache-2.0
//! What was perhaps meant by a word that nobody knows.

/// The known word that is nearest to `word`, if one is near enough to be meant.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    let near = known.into_iter().filter_map(|candidate| {
        let candidate_lower = candidate.to_lowercase();
        let distance = distance(&lower, &candidate_lower);
        let begins = lower.len() > 2 && candidate_lower.starts_with(&lower);
        let most = (candidate.len().max(word.len()) / 3).max(1);
        (begins || distance <= most).then_some((distance, candidate))
    });
    near.min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Letters to insert, remove or change, to make one word of the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut next = Vec::with_capacity(row.len());
        next.push(i + 1);
        for ((other, pair), j) in b.iter().zip(row.windows(2)).zip(0..) {
            let [diagonal, above] = *pair else { continue };
            let left: usize = next.get(j).copied().unwrap_or(0);
            let changed = diagonal + usize::from(letter != *other);
            next.push(changed.min(above + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_word_finds_the_one_that_was_meant() {
        let known = ["topicList", "topicStatus", "topicRoute", "deleteTopic"];
        assert_eq!(nearest("topiclst", known), Some("topicList"));
        assert_eq!(nearest("topicStat", known), Some("topicStatus"));
        assert_eq!(nearest("frobnicate", known), None);
    }
}
