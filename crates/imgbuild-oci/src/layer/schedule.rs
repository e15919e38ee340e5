//! Several layers at a time.

use std::sync::{Arc, Mutex};

use super::Layer;
use crate::changeset::Changeset;
use crate::error::Result;
use crate::parallel;

/// How many layers are begun before others because they tell of them.
const MAX_FIRST: usize = 2;

/// Builds the smallest of those that are probes, then the largest layers, so
/// that none is left alone at the end.
pub(super) fn build_all<P: Send>(
    changesets: Vec<Changeset>,
    threads: usize,
    finished: &(dyn Fn(&Layer) + Sync),
    probe: &dyn Fn(&Changeset) -> Option<P>,
    build: &(dyn Fn(Arc<Changeset>, Option<P>) -> Result<Layer> + Sync),
) -> Result<Vec<Layer>> {
    let changesets: Vec<Arc<Changeset>> = changesets.into_iter().map(Arc::new).collect();
    let mut order: Vec<usize> = (0..changesets.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(changesets[*index].tar_size()));
    let smallest = order.iter().rev().copied();
    let probes = smallest.filter_map(|index| Some((index, probe(&changesets[index])?)));
    let probes: Vec<(usize, P)> = probes.take(MAX_FIRST).collect();
    order.retain(|index| probes.iter().all(|(probe, _)| probe != index));
    let probes = probes
        .into_iter()
        .map(|(index, probe)| (index, Some(probe)));
    let others = order.into_iter().map(|index| (index, None));
    // Probes are on their way before others begin, which may wait for them.
    let order: Vec<(usize, Mutex<Option<P>>)> = probes
        .chain(others)
        .map(|(index, probe)| (index, Mutex::new(probe)))
        .collect();
    let results: Mutex<Vec<Option<Layer>>> = Mutex::new(vec![None; changesets.len()]);
    parallel::for_each(threads, 0..order.len(), |turn, _| {
        let (index, ref probe) = order[turn];
        let probe = probe.lock().expect("no holder of the lock panics").take();
        let layer = build(Arc::clone(&changesets[index]), probe)?;
        finished(&layer);
        results.lock().expect("no holder of the lock panics")[index] = Some(layer);
        Ok(())
    })?;
    let layers = results.into_inner().expect("no holder of the lock panics");
    Ok(layers.into_iter().flatten().collect())
}
