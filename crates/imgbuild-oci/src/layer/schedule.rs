//! Several layers at a time.

use std::sync::{Arc, Mutex};

use super::Layer;
use crate::changeset::Changeset;
use crate::error::Result;
use crate::monitor::{Monitor, Progress};
use crate::turns::run_in_turn;

/// How many layers are begun before others because they tell of them.
const MAX_FIRST: usize = 2;

/// Builds the smallest of those that should come first, then the largest
/// layers, so that none is left alone at the end.
pub(super) fn build_all(
    changesets: Vec<Changeset>,
    threads: usize,
    monitor: Monitor<'_>,
    is_first: &dyn Fn(&Changeset) -> bool,
    build: &(dyn Fn(Arc<Changeset>) -> Result<Layer> + Sync),
) -> Result<Vec<Layer>> {
    let changesets: Vec<Arc<Changeset>> = changesets.into_iter().map(Arc::new).collect();
    let mut order: Vec<usize> = (0..changesets.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(changesets[*index].tar_size()));
    let candidates = order.iter().rev().copied();
    let first = candidates.filter(|index| is_first(&changesets[*index]));
    let mut first: Vec<usize> = first.take(MAX_FIRST).collect();
    order.retain(|index| !first.contains(index));
    first.append(&mut order);
    let order = first;
    let results: Mutex<Vec<Option<Layer>>> = Mutex::new(vec![None; changesets.len()]);
    run_in_turn(threads.min(changesets.len()), order.len(), |turn| {
        let index = order[turn];
        let layer = build(Arc::clone(&changesets[index]))?;
        monitor.report(Progress::Layer(&layer));
        results.lock().expect("no holder of the lock panics")[index] = Some(layer);
        Ok(())
    })?;
    let layers = results.into_inner().expect("no holder of the lock panics");
    Ok(layers.into_iter().flatten().collect())
}
