//! What goes into one step of an apply.

use crate::hot::HotRow;

/// Rows applied in one step; a row takes Redis some 25 µs.
const APPLY_ROWS: usize = 250;
/// Bytes of values applied in one step, about.
const APPLY_BYTES: usize = 1024 * 1024;

/// The rows by steps; rows of one offset are never parted.
pub(super) fn steps(rows: &[HotRow]) -> impl Iterator<Item = &[HotRow]> {
    let (mut count, mut bytes) = (0, 0);
    rows.chunk_by(move |row, next| {
        count += 1;
        bytes += row.value.len();
        let is_full = count >= APPLY_ROWS || bytes >= APPLY_BYTES;
        let goes_on = !is_full || row.seq == next.seq;
        if !goes_on {
            (count, bytes) = (0, 0);
        }
        goes_on
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn row(seq: u64, bytes: usize) -> HotRow {
        HotRow { account_id: "a".into(), email_id: "e".into(), seq, value: Bytes::from(vec![0; bytes]) }
    }

    proptest! {
        #[test]
        fn steps_have_all_rows_and_part_no_offset(
            sizes in proptest::collection::vec((0..2_u64, 0..40_000_usize), 0..1500),
        ) {
            let mut seq = 0;
            let rows: Vec<HotRow> = sizes.iter().map(|(more, bytes)| { seq += more; row(seq, *bytes) }).collect();
            let parts: Vec<&[HotRow]> = steps(&rows).collect();
            prop_assert_eq!(&parts.concat(), &rows);
            for pair in parts.windows(2) {
                prop_assert!(pair[0].last().map(|row| row.seq) < pair[1].first().map(|row| row.seq));
            }
            for part in parts {
                let last = part.last().map(|row| row.seq);
                let before_last: Vec<&HotRow> = part.iter().filter(|row| Some(row.seq) < last).collect();
                prop_assert!(before_last.len() < APPLY_ROWS);
                prop_assert!(before_last.iter().map(|row| row.value.len()).sum::<usize>() < APPLY_BYTES);
            }
        }
    }
}
