//! Damage done on purpose to one taken event, so that a checker can be seen to notice it.

use crate::config::{Sabotage, Saboteur};
use crate::slot::Entry;
use crate::source::Batch;

/// Damages `picked`, if it has an event that suits; the offset of an event that will not be run.
pub(crate) fn damage(saboteur: &Saboteur, batch: &Batch, picked: &mut Vec<Entry>) -> Option<i64> {
    let middle = picked.len() / 2;
    match saboteur.kind {
        Sabotage::None
        | Sabotage::CommitEarly
        | Sabotage::Forget
        | Sabotage::Overtake
        | Sabotage::Vanish => None,
        Sabotage::Lose => {
            let claimed = !picked.is_empty() && saboteur.strike();
            claimed.then(|| batch.header().base_offset + i64::from(picked.remove(middle).delta))
        }
        Sabotage::Repeat => {
            if !picked.is_empty() && saboteur.strike() {
                picked.insert(middle, picked[middle]);
            }
            None
        }
        Sabotage::Reorder => {
            if let Some((one, other)) = of_one_key(batch, picked)
                && saboteur.strike()
            {
                (picked[one].position, picked[other].position) =
                    (picked[other].position, picked[one].position);
            }
            None
        }
    }
}

/// Two events of one key.
fn of_one_key(batch: &Batch, picked: &[Entry]) -> Option<(usize, usize)> {
    let key = |entry: &Entry| batch.record_at(entry.position).ok().and_then(|record| record.key);
    let mut keys: Vec<_> =
        picked.iter().enumerate().filter_map(|(at, entry)| Some((key(entry)?, at))).collect();
    keys.sort_unstable();
    keys.windows(2).find(|pair| pair[0].0 == pair[1].0).map(|pair| (pair[0].1, pair[1].1))
}
