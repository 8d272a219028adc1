//! Sites put together, and two snapshots side by side.

use std::collections::HashMap;
use std::hash::Hash;

use super::snapshot::{Estimate, Site, Snapshot};

/// How a group of sites changed between two snapshots.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Difference<K> {
    /// What the sites of the group have in common.
    pub key: K,
    /// What was live before.
    pub before: Estimate,
    /// What is live after.
    pub after: Estimate,
}

impl<K> Difference<K> {
    /// Bytes gained, below zero if bytes were lost.
    #[must_use]
    pub fn bytes(&self) -> f64 {
        self.after.bytes - self.before.bytes
    }

    /// Blocks gained, below zero if blocks were lost.
    #[must_use]
    pub fn blocks(&self) -> f64 {
        self.after.blocks - self.before.blocks
    }

    /// Standard error of [`bytes`](Self::bytes), for blocks that are live in one of the two only.
    #[must_use]
    pub fn standard_error(&self) -> f64 {
        (self.before.bytes_variance + self.after.bytes_variance).sqrt()
    }
}

impl Snapshot {
    /// A snapshot of this process, the same as [`heap::snapshot`](super::snapshot())
    /// (`tracemalloc.take_snapshot()`).
    ///
    /// # Errors
    ///
    /// As [`heap::snapshot`](super::snapshot()).
    pub fn take() -> crate::Result<Snapshot> {
        super::measure::snapshot()
    }

    /// The live bytes of sites put together by whatever `key` says of a site: its stack, its scope,
    /// its innermost frame of the program's own, the file of that frame
    /// (`Snapshot.statistics("lineno")`). The largest first.
    ///
    /// # Examples
    ///
    /// ```
    /// # use profiling::heap::{self, Mode, Profiler, Snapshot};
    /// # #[global_allocator]
    /// # static HEAP: Profiler<std::alloc::System> = Profiler::new(std::alloc::System, Mode::Exact);
    /// let scope = heap::scope("table");
    /// let table = vec![0u8; 1 << 20];
    /// drop(scope);
    /// let snapshot = Snapshot::take()?;
    /// let by_scope = snapshot.group_by(|site| site.tag.map(|tag| &snapshot.tags[tag as usize]));
    /// let (name, live) = &by_scope[0];
    /// assert_eq!(name.map(String::as_str), Some("table"));
    /// assert_eq!(live.bytes, f64::from(1 << 20));
    /// # drop(table);
    /// # Ok::<(), profiling::Error>(())
    /// ```
    pub fn group_by<K: Eq + Hash>(&self, key: impl Fn(&Site) -> K) -> Vec<(K, Estimate)> {
        let mut groups: HashMap<K, Estimate> = HashMap::new();
        for site in &self.sites {
            groups.entry(key(site)).or_default().merge(&site.live);
        }
        let mut groups: Vec<_> = groups.into_iter().collect();
        groups.sort_by(|a, b| b.1.bytes.total_cmp(&a.1.bytes));
        groups
    }

    /// What changed since an earlier snapshot, by whatever `key` says of a site
    /// (`Snapshot.compare_to`). The largest change first; groups that did not change are left out.
    ///
    /// Frames are addresses: to compare two runs, or two processes, let the key name them.
    ///
    /// # Examples
    ///
    /// ```
    /// # use profiling::heap::{self, Mode, Profiler, Snapshot};
    /// # #[global_allocator]
    /// # static HEAP: Profiler<std::alloc::System> = Profiler::new(std::alloc::System, Mode::Exact);
    /// let before = Snapshot::take()?;
    /// let kept = vec![0u8; 10 << 20];
    /// let after = Snapshot::take()?;
    /// let grown = after.compare(&before, |site| site.frames.clone());
    /// assert!(grown[0].bytes() >= f64::from(10 << 20));
    /// # drop(kept);
    /// # Ok::<(), profiling::Error>(())
    /// ```
    pub fn compare<K: Eq + Hash>(
        &self,
        earlier: &Snapshot,
        key: impl Fn(&Site) -> K,
    ) -> Vec<Difference<K>> {
        let mut groups: HashMap<K, (Estimate, Estimate)> = HashMap::new();
        for site in &earlier.sites {
            groups.entry(key(site)).or_default().0.merge(&site.live);
        }
        for site in &self.sites {
            groups.entry(key(site)).or_default().1.merge(&site.live);
        }
        let differ = |(key, (before, after))| Difference { key, before, after };
        let mut differences: Vec<_> = groups.into_iter().map(differ).collect();
        differences.retain(|it| it.before != it.after);
        differences.sort_by(|a, b| b.bytes().abs().total_cmp(&a.bytes().abs()));
        differences
    }
}

impl Estimate {
    /// Adds another estimate, of other blocks: bytes, blocks and variances add up.
    pub fn merge(&mut self, other: &Estimate) {
        self.bytes += other.bytes;
        self.blocks += other.blocks;
        self.samples += other.samples;
        self.bytes_variance += other.bytes_variance;
    }
}
