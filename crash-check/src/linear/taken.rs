//! The set of operations that a partial linearization contains: undoable, with a compact key.

use super::condition::Interval;

/// Which operations were taken; those that must be are threaded on a list while they are not
/// (Lowe, *Testing for linearizability*, 2017), so that a look at the candidates costs as much as
/// operations overlap, however long the history.
#[derive(Debug)]
pub(super) struct Taken {
    /// Position of each operation among those of its class (required or optional).
    rank: Vec<usize>,
    required: Vec<bool>,
    required_bits: Window,
    optional_bits: Vec<u64>,
    /// Operations that need not take effect.
    pub optional: Vec<usize>,
    /// List of the required ones not yet taken; the sentinel is the number of operations.
    next: Vec<usize>,
    previous: Vec<usize>,
    missing: usize,
}

impl Taken {
    pub fn none_of<Op, Ret>(intervals: &[Interval<Op, Ret>]) -> Self {
        let sentinel = intervals.len();
        let mut taken = Self {
            rank: Vec::with_capacity(sentinel),
            required: intervals.iter().map(|interval| interval.required).collect(),
            required_bits: Window::default(),
            optional_bits: Vec::new(),
            optional: Vec::new(),
            next: vec![sentinel; sentinel + 1],
            previous: vec![sentinel; sentinel + 1],
            missing: 0,
        };
        let mut last = sentinel;
        for (index, interval) in intervals.iter().enumerate() {
            if interval.required {
                taken.rank.push(taken.missing);
                taken.missing += 1;
                taken.next[last] = index;
                taken.previous[index] = last;
                last = index;
            } else {
                taken.rank.push(taken.optional.len());
                taken.optional.push(index);
            }
        }
        taken.next[last] = sentinel;
        taken.previous[sentinel] = last;
        taken.required_bits = Window::new(taken.missing);
        taken.optional_bits = vec![0; taken.optional.len().div_ceil(64)];
        taken
    }

    pub fn contains(&self, index: usize) -> bool {
        let rank = self.rank[index];
        let words =
            if self.required[index] { &self.required_bits.words } else { &self.optional_bits };
        words[rank / 64] & (1 << (rank % 64)) != 0
    }

    pub fn insert(&mut self, index: usize) {
        let rank = self.rank[index];
        if !self.required[index] {
            self.optional_bits[rank / 64] |= 1 << (rank % 64);
            return;
        }
        self.required_bits.set(rank);
        self.missing -= 1;
        let (previous, next) = (self.previous[index], self.next[index]);
        self.next[previous] = next;
        self.previous[next] = previous;
    }

    /// Undoes the latest insertion.
    pub fn remove(&mut self, index: usize) {
        let rank = self.rank[index];
        if !self.required[index] {
            self.optional_bits[rank / 64] &= !(1 << (rank % 64));
            return;
        }
        self.required_bits.clear(rank);
        self.missing += 1;
        let (previous, next) = (self.previous[index], self.next[index]);
        self.next[previous] = index;
        self.previous[next] = index;
    }

    /// Whether every operation that must take effect was taken.
    pub fn is_complete(&self) -> bool {
        self.missing == 0
    }

    /// The required operations not yet taken, in the order of invocation.
    pub fn missing(&self) -> impl Iterator<Item = usize> + '_ {
        let sentinel = self.rank.len();
        let mut at = self.next[sentinel];
        std::iter::from_fn(move || {
            let found = (at != sentinel).then_some(at)?;
            at = self.next[at];
            Some(found)
        })
    }

    /// The set as words: equal keys are equal sets.
    pub fn key(&self) -> Box<[u64]> {
        let window = self.required_bits.window();
        let mut key = Vec::with_capacity(1 + window.len() + self.optional_bits.len());
        key.push(self.required_bits.low as u64);
        key.extend_from_slice(window);
        key.extend_from_slice(&self.optional_bits);
        key.into_boxed_slice()
    }
}

/// A bit set of which only the words between the full ones below and the empty ones above count.
#[derive(Debug, Default)]
struct Window {
    words: Vec<u64>,
    /// Every word below is full.
    low: usize,
    /// Every word from here on is empty.
    high: usize,
}

impl Window {
    fn new(bits: usize) -> Self {
        Self { words: vec![0; bits.div_ceil(64)], low: 0, high: 0 }
    }

    fn set(&mut self, bit: usize) {
        self.words[bit / 64] |= 1 << (bit % 64);
        self.high = self.high.max(bit / 64 + 1);
        while self.low < self.words.len() && self.words[self.low] == u64::MAX {
            self.low += 1;
        }
    }

    fn clear(&mut self, bit: usize) {
        self.words[bit / 64] &= !(1 << (bit % 64));
        self.low = self.low.min(bit / 64);
        while self.high > 0 && self.words[self.high - 1] == 0 {
            self.high -= 1;
        }
    }

    fn window(&self) -> &[u64] {
        &self.words[self.low.min(self.high)..self.high]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_forgets_full_words_and_remembers_them_when_undone() {
        let mut window = Window::new(200);
        (0..70).for_each(|bit| window.set(bit));
        assert_eq!((window.low, window.window()), (1, &[0b11_1111][..]));
        window.clear(69);
        window.clear(3);
        assert_eq!((window.low, window.window().len()), (0, 2));
    }
}
