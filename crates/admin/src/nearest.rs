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

/// Letters to insert, remove, change or swap with the next, to make one word of the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    // Of the words as far as `i` and `j`; row and column 0 are those of an empty word.
    let mut table = vec![vec![0; b.len() + 1]; a.len() + 1];
    let at = |table: &[Vec<usize>], i: usize, j: usize| {
        table.get(i).and_then(|row| row.get(j)).copied().unwrap_or(0)
    };
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            let least = if i == 0 || j == 0 {
                i + j
            } else {
                let letters = (a.get(i - 1), b.get(j - 1));
                let changed = at(&table, i - 1, j - 1) + usize::from(letters.0 != letters.1);
                let moved = at(&table, i - 1, j).min(at(&table, i, j - 1)) + 1;
                let is_swap = i > 1 && j > 1 && a.get(i - 1) == b.get(j - 2) && a.get(i - 2) == b.get(j - 1);
                let swapped = if is_swap {
                    at(&table, i - 2, j - 2) + 1
                } else {
                    moved
                };
                changed.min(moved).min(swapped)
            };
            if let Some(cell) = table.get_mut(i).and_then(|row| row.get_mut(j)) {
                *cell = least;
            }
        }
    }
    at(&table, a.len(), b.len())
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
        assert_eq!(distance("lsit", "list"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "ab"), 2);
    }
}
