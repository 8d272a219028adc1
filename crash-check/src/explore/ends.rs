//! From which states can an end be reached?
//!
//! The graph is kept as forward edges in the order of discovery (4 bytes an edge). Most edges lead
//! to later states, so passes from the last state to the first settle within a few rounds.

/// The steps (not the events) of the explored graph, by source in the order of exploration.
#[derive(Debug, Default)]
pub(super) struct Graph {
    /// Where the targets of state *i* begin; one more entry than states explored.
    starts: Vec<usize>,
    targets: Vec<u32>,
}

impl Graph {
    pub(super) fn begin_state(&mut self) {
        self.starts.push(self.targets.len());
    }

    pub(super) fn edge(&mut self, target: u32) {
        self.targets.push(target);
    }

    pub(super) fn edges(&self) -> usize {
        self.targets.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.starts.capacity() * size_of::<usize>() + self.targets.capacity() * size_of::<u32>()
    }

    /// The first state, in the order of discovery, from which no end can be reached.
    pub(super) fn first_without_end(&self) -> Option<u32> {
        let states = self.starts.len();
        let mut reaches = vec![false; states];
        loop {
            let mut changed = false;
            for state in (0..states).rev() {
                if !reaches[state] && self.reaches_now(state, &reaches) {
                    reaches[state] = true;
                    changed = true;
                }
            }
            if !changed {
                return reaches.iter().position(|reached| !reached).map(|state| state as u32);
            }
        }
    }

    /// An end itself, or one step away from a state that is known to reach one.
    fn reaches_now(&self, state: usize, reaches: &[bool]) -> bool {
        let targets = self.targets_of(state);
        targets.is_empty() || targets.iter().any(|&target| reaches[target as usize])
    }

    fn targets_of(&self, state: usize) -> &[u32] {
        let end = self.starts.get(state + 1).copied().unwrap_or(self.targets.len());
        &self.targets[self.starts[state]..end]
    }
}
