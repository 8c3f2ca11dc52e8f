//! "Did you mean": the known word nearest to an unknown one.

/// The nearest of `known`, if it is near enough to have been meant.
pub(in crate::config) fn nearest<'a>(
    word: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    // A hostile key must not cost time in the square of its length.
    if word.len() > 64 {
        return None;
    }
    let scored = known.into_iter().map(|candidate| (distance(word, candidate), candidate));
    let (distance, candidate) = scored.min()?;
    let near = distance <= 1 + word.chars().count().min(candidate.len()) / 4;
    near.then_some(candidate)
}

/// Insertions, deletions and substitutions between two words (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, a) in one.chars().enumerate() {
        let mut diagonal = index;
        let mut left = index + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, b) in row.iter_mut().skip(1).zip(&other) {
            let above = *cell;
            let substituted = diagonal + usize::from(a != *b);
            *cell = substituted.min(above + 1).min(left + 1);
            diagonal = above;
            left = *cell;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_offered_and_a_far_one_is_not() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(nearest("listn", ["listen", "path"]), Some("listen"));
        assert_eq!(nearest("max_retrys", ["max_retries", "max_delay"]), Some("max_retries"));
        assert_eq!(nearest("colour", ["listen", "path"]), None);
        assert_eq!(nearest("x", []), None);
    }
}
