//! Statements over lists: bounded in length, and few different texts, so that they stay prepared.

use sqlx::QueryBuilder;
use uuid::Uuid;

use super::dialect::Db;

/// Values in one list at most.
pub(super) const LIST: usize = 256;

/// Ids in one list at most, where one statement is to be enough for all rooms of a user.
pub(super) const WIDE: usize = 4096;

/// Cuts a list into runs of a power of two, the largest first, each at most `max`.
pub(super) fn runs<T>(mut list: &[T], max: usize) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        if list.is_empty() {
            return None;
        }
        let length = if list.len() >= max { max } else { 1 << list.len().ilog2() };
        let (run, rest) = list.split_at(length);
        list = rest;
        Some(run)
    })
}

/// `(?, ?, …)` with these ids, the last one repeated up to the next power of two.
pub(super) fn push_ids(query: &mut QueryBuilder<Db>, ids: &[Uuid]) {
    let Some(last) = ids.last() else {
        query.push("(NULL)");
        return;
    };
    let padding = ids.len().next_power_of_two() - ids.len();
    query.push("(");
    let mut list = query.separated(", ");
    for id in ids.iter().chain(std::iter::repeat_n(last, padding)) {
        list.push_bind(*id);
    }
    query.push(")");
}

/// `(?, ?, …)` with these numbers, the last one repeated up to the next power of two.
pub(super) fn push_numbers(query: &mut QueryBuilder<Db>, numbers: &[i64]) {
    let Some(last) = numbers.last() else {
        query.push("(NULL)");
        return;
    };
    let padding = numbers.len().next_power_of_two() - numbers.len();
    query.push("(");
    let mut list = query.separated(", ");
    for number in numbers.iter().chain(std::iter::repeat_n(last, padding)) {
        list.push_bind(*number);
    }
    query.push(")");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_powers_of_two_and_cover_the_list() {
        let list: Vec<u8> = (0..37).collect();
        let lengths: Vec<usize> = runs(&list, 16).map(<[u8]>::len).collect();
        assert_eq!(lengths, [16, 16, 4, 1]);
        assert_eq!(runs(&list, 16).flatten().copied().collect::<Vec<_>>(), list);
        assert_eq!(runs::<u8>(&[], 16).count(), 0);
    }
}
