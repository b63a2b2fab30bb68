//! In what order entries are written, and which together: what is referred to comes first, a circle stays together, and no
//! transaction has more entries or bytes than it may.

/// What refers to what: for each entry the entries that it refers to. One list for all, because there may be a million.
#[derive(Debug, Default)]
pub(super) struct Edges {
    /// Where in `to` each entry's targets begin; one more than there are entries.
    from: Vec<usize>,
    to: Vec<u32>,
}

impl Edges {
    /// The targets of entries that are added one after the other.
    pub(super) fn push(&mut self, targets: impl IntoIterator<Item = u32>) {
        if self.from.is_empty() {
            self.from.push(0);
        }
        self.to.extend(targets);
        self.from.push(self.to.len());
    }

    /// What an entry refers to.
    pub(super) fn of(&self, entry: u32) -> &[u32] {
        let at = entry as usize;
        &self.to[self.from[at]..self.from[at + 1]]
    }

    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        self.from.len().saturating_sub(1)
    }
}

/// What one transaction may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Most {
    pub(crate) entries: usize,
    pub(crate) bytes: usize,
}

/// Entries that are written in one transaction.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Chunk {
    /// Circles of references, nearly always of one entry, in the order in which they depend on each other.
    pub(super) groups: Vec<Vec<u32>>,
    /// The chunks that hold what this one refers to.
    pub(super) after: Vec<usize>,
}

/// Plans the writing of all entries; `bytes` says how large each is.
pub(super) fn plan(edges: &Edges, bytes: impl Fn(u32) -> usize, most: Most) -> Vec<Chunk> {
    let groups = ordered(edges);
    let mut chunk_of = vec![0_usize; edges.len()];
    let mut chunks: Vec<Chunk> = Vec::new();
    let (mut entries, mut size) = (0, 0);
    for group in groups {
        let more: usize = group.iter().map(|e| bytes(*e)).sum();
        let full = entries + group.len() > most.entries || size + more > most.bytes;
        if chunks.is_empty() || (full && entries > 0) {
            chunks.push(Chunk::default());
            (entries, size) = (0, 0);
        }
        (entries, size) = (entries + group.len(), size + more);
        let number = chunks.len() - 1;
        for entry in &group {
            chunk_of[*entry as usize] = number;
        }
        chunks[number].groups.push(group);
    }
    for (number, chunk) in chunks.iter_mut().enumerate() {
        let targets = chunk.groups.iter().flatten().flat_map(|e| edges.of(*e));
        let mut after: Vec<usize> = targets.map(|t| chunk_of[*t as usize]).filter(|c| *c != number).collect();
        after.sort_unstable();
        after.dedup();
        chunk.after = after;
    }
    chunks
}

/// The place of each entry in an order in which it comes after what it refers to; those of a circle have the same.
pub(super) fn ranks(edges: &Edges) -> Vec<u32> {
    let mut ranks = vec![0; edges.len()];
    for (rank, group) in (0_u32..).zip(ordered(edges)) {
        group.iter().for_each(|e| ranks[*e as usize] = rank);
    }
    ranks
}

/// The circles of references, those that depend on nothing first and otherwise in the order of their first entries.
fn ordered(edges: &Edges) -> Vec<Vec<u32>> {
    let mut groups = circles(edges);
    let mut group_of = vec![0_usize; edges.len()];
    for (number, group) in groups.iter_mut().enumerate() {
        group.sort_unstable();
        for entry in group {
            group_of[*entry as usize] = number;
        }
    }
    // A circle comes out after all that it refers to, so their depths are known.
    let mut depth = vec![0_u32; groups.len()];
    for (number, group) in groups.iter().enumerate() {
        let targets = group.iter().flat_map(|e| edges.of(*e)).map(|t| group_of[*t as usize]);
        depth[number] = targets.filter(|t| *t != number).map(|t| depth[t] + 1).max().unwrap_or(0);
    }
    let mut keyed: Vec<(u32, Vec<u32>)> = depth.into_iter().zip(groups).collect();
    keyed.sort_by_key(|(depth, group)| (*depth, group[0]));
    keyed.into_iter().map(|(_, group)| group).collect()
}

/// Strongly connected components (Tarjan's algorithm, without recursion: a chain of references may be long).
fn circles(edges: &Edges) -> Vec<Vec<u32>> {
    const NEW: u32 = u32::MAX;
    let count = edges.len();
    let (mut index, mut low, mut on_stack) = (vec![NEW; count], vec![0_u32; count], vec![false; count]);
    let (mut stack, mut out, mut next) = (Vec::new(), Vec::new(), 0_u32);
    let mut work: Vec<(u32, usize)> = Vec::new();
    for root in 0..u32::try_from(count).unwrap_or(NEW) {
        if index[root as usize] != NEW {
            continue;
        }
        work.push((root, 0));
        while let Some((entry, done)) = work.pop() {
            let at = entry as usize;
            if done == 0 {
                (index[at], low[at], on_stack[at]) = (next, next, true);
                next += 1;
                stack.push(entry);
            }
            if let Some(&target) = edges.of(entry).get(done) {
                work.push((entry, done + 1));
                let to = target as usize;
                if index[to] == NEW {
                    work.push((target, 0));
                } else if on_stack[to] {
                    low[at] = low[at].min(index[to]);
                }
                continue;
            }
            if let Some((parent, _)) = work.last() {
                let parent = *parent as usize;
                low[parent] = low[parent].min(low[at]);
            }
            if low[at] == index[at] {
                let from = stack.iter().rposition(|e| *e == entry).unwrap_or(0);
                let circle = stack.split_off(from);
                circle.iter().for_each(|e| on_stack[*e as usize] = false);
                out.push(circle);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edges(targets: &[&[u32]]) -> Edges {
        let mut edges = Edges::default();
        targets.iter().for_each(|t| edges.push(t.iter().copied()));
        edges
    }

    fn chunks(targets: &[&[u32]], entries: usize, bytes: usize) -> Vec<Chunk> {
        plan(&edges(targets), |_| 10, Most { entries, bytes })
    }

    fn groups(of: &[Chunk]) -> Vec<Vec<Vec<u32>>> {
        of.iter().map(|c| c.groups.clone()).collect()
    }

    #[test]
    fn what_is_referred_to_comes_first() {
        // 0 → 1 → 2, and 3 stands alone.
        let found = chunks(&[&[1], &[2], &[], &[]], 1, 100);
        assert_eq!(groups(&found), [[[2]], [[3]], [[1]], [[0]]]);
        assert_eq!(found.iter().map(|c| c.after.clone()).collect::<Vec<_>>(), [vec![], vec![], vec![0], vec![2]]);
    }

    #[test]
    fn a_circle_stays_together() {
        let found = chunks(&[&[1], &[2], &[0], &[3]], 2, 100);
        assert_eq!(groups(&found), [vec![vec![0, 1, 2]], vec![vec![3]]]);
    }

    #[test]
    fn a_transaction_has_as_many_entries_and_bytes_as_it_may() {
        let alone: [&[u32]; 5] = [&[]; 5];
        assert_eq!(chunks(&alone, 2, 100).iter().map(|c| c.groups.len()).collect::<Vec<_>>(), [2, 2, 1]);
        assert_eq!(chunks(&alone, 100, 30).iter().map(|c| c.groups.len()).collect::<Vec<_>>(), [3, 2]);
        // What is too large by itself goes alone, and the server says so.
        assert_eq!(chunks(&alone, 100, 5).len(), 5);
        assert!(plan(&Edges::default(), |_| 1, Most { entries: 1, bytes: 1 }).is_empty());
    }

    #[test]
    fn a_long_chain_does_not_exhaust_the_stack() {
        let mut edges = Edges::default();
        let count = 100_000;
        (1..count).for_each(|n| edges.push([n]));
        edges.push([]);
        let found = plan(&edges, |_| 1, Most { entries: 1000, bytes: 1 << 20 });
        assert_eq!(found.len(), 100);
        assert_eq!(found[0].groups[0], [count - 1]);
    }

    #[test]
    fn every_entry_comes_once_and_after_what_it_refers_to() {
        let mut rng = crate::bench::Rng::new(5);
        for _ in 0..200 {
            let count = 1 + rng.below(40);
            let mut edges = Edges::default();
            for _ in 0..count {
                let targets: Vec<u32> = (0..rng.below(4)).map(|_| u32::try_from(rng.below(count)).unwrap()).collect();
                edges.push(targets);
            }
            let found = plan(&edges, |_| 1, Most { entries: 3, bytes: 1000 });
            let mut place = vec![None; edges.len()];
            for (number, chunk) in found.iter().enumerate() {
                assert!(chunk.groups.len() == 1 || chunk.groups.iter().flatten().count() <= 3);
                for (at, entry) in chunk.groups.iter().enumerate().flat_map(|(at, g)| g.iter().map(move |e| (at, e))) {
                    assert_eq!(place[*entry as usize].replace((number, at)), None, "written twice");
                }
            }
            for entry in 0..u32::try_from(count).unwrap() {
                let here = place[entry as usize].unwrap();
                for target in edges.of(entry) {
                    let there = place[*target as usize].unwrap();
                    assert!(there <= here, "{entry} at {here:?} refers to {target} at {there:?}");
                    assert!(there.0 == here.0 || found[here.0].after.contains(&there.0));
                }
            }
        }
    }
}
