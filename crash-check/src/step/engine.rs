//! Kill at every instruction: the walk along an operation, and along its recoveries.
//!
//! Only the memory survives a victim, so two points that leave equal memory are one case: each
//! image is handed to survivors once, whichever path led to it.

use std::collections::{HashSet, VecDeque};

use super::child::{Child, Ended};
use super::error::{During, StepError};
use super::finding::{Change, FailureKind, Finding, Outcome, Phase, Place, Tally, apply, changes};
use super::real::Company;
use super::region::{Arena, Region};
use super::replay::{self, Target};
use super::scenario::{Job, Scenario};
use super::session::check_len;
use super::survivors::{self, Broken, Part, describe_end};
use super::walk::{Progress, Walk};

/// An image as its difference from the first one, and, where that matters, whether its victim
/// slept, and how many system calls the victims had made. Exact: two images with one key are one.
type Key = (Vec<Change>, Phase, Vec<u64>);

/// An image whose recovery is still to be killed at every instruction.
#[derive(Debug)]
struct Left {
    changes: Vec<Change>,
    /// The kill points that led to it, and the threads that died there.
    path: Vec<Place>,
    dead: Vec<u32>,
}

/// The state of one run, in the session process.
#[derive(Debug)]
pub(super) struct Engine<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) region: &'a Region,
    pub(super) target: Option<&'a Target>,
    pub(super) tally: Tally,
    /// The image that the operation starts from.
    pub(super) initial: Vec<u8>,
    /// One kill point of the operation for each distinct image.
    pub(super) points: Vec<Place>,
    /// Whether walks to a known system call run freely until there, and whether one ever slept.
    pub(super) skips: bool,
    pub(super) sleeps: bool,
    seen: HashSet<Key>,
    /// What `points` stand for: a recovery may have left the same image before.
    repeated: HashSet<Key>,
    /// Breadth first: a hole in the operation is shown before one in its recovery.
    left: VecDeque<Left>,
}

impl<'a> Engine<'a> {
    pub(super) fn new(
        scenario: &'a Scenario,
        region: &'a Region,
        target: Option<&'a Target>,
    ) -> Engine<'a> {
        Engine {
            scenario,
            region,
            target,
            tally: Tally::default(),
            initial: Vec::new(),
            points: Vec::new(),
            skips: scenario.each_call,
            sleeps: false,
            seen: HashSet::new(),
            repeated: HashSet::new(),
            left: VecDeque::new(),
        }
    }

    pub(super) fn run(mut self) -> Result<Outcome, StepError> {
        self.initialise()?;
        let mut finding = self.walk_operation()?;
        while finding.is_none()
            && let Some(left) = self.left.pop_front()
        {
            finding = self.walk_recovery(&left)?;
        }
        finding = match finding {
            None => self.kill_for_real()?,
            Some(found) => Some(self.confirm(found)?),
        };
        if let (Some(target), 0) = (self.target, self.tally.recoveries) {
            return Err(StepError::NoSuchPoint(target.text.clone()));
        }
        Ok(Outcome { tally: self.tally, finding })
    }

    /// Builds the structure, in a process of its own, and keeps its first image.
    pub(super) fn initialise(&mut self) -> Result<(), StepError> {
        if let Some(init) = &self.scenario.init {
            let mut child = Child::spawn(|_| init(self.region)).during("fork")?;
            self.must_end_well(&mut child, "init")?;
        }
        check_len(self.region)?;
        self.region.copy_out(&mut self.initial);
        Ok(())
    }

    pub(super) fn must_end_well(&self, child: &mut Child, part: &str) -> Result<(), StepError> {
        let limit = self.scenario.watchdog;
        match child.wait_within(limit).during("waitpid")? {
            Ended::Well => Ok(()),
            Ended::Hung => Err(StepError::Slow { part: part.to_owned(), limit }),
            other => Err(StepError::Setup { part: part.to_owned(), message: describe_end(&other) }),
        }
    }

    pub(super) fn operation(&self) -> Result<&'a Job, StepError> {
        let scenario = self.scenario;
        scenario.operation.as_ref().ok_or_else(|| scenario.incomplete("operation"))
    }

    pub(super) fn start_operation(&self) -> Result<Walk<'a>, StepError> {
        let Scenario { liveness, watchdog, .. } = self.scenario;
        let (region, none) = (self.region, &[]);
        let walk =
            Walk::start(self.operation()?, region, None, none, liveness.as_ref(), *watchdog)?;
        Ok(if self.scenario.each_call { walk.counting_calls() } else { walk })
    }

    fn walk_operation(&mut self) -> Result<Option<Finding>, StepError> {
        let mut walk = self.start_operation()?;
        let mut company = Company::default();
        loop {
            if let Some(finding) = self.visit(&walk, &[], &[])? {
                return Ok(Some(finding));
            }
            let mut progress = walk.advance()?;
            self.tally.instructions = walk.place().instruction;
            if progress == Progress::Asleep {
                self.sleeps = true;
                if let Some(finding) = self.visit(&walk, &[], &[])? {
                    return Ok(Some(finding));
                }
                let Some(woken) = self.wake(&mut walk, &mut company)? else {
                    self.tally.asleep = 1;
                    return Ok(None);
                };
                progress = woken;
            }
            match progress {
                Progress::Moved | Progress::Asleep => {}
                Progress::Finished => {
                    check_len(self.region)?;
                    return self.finish(walk);
                }
                Progress::Failed(message) => {
                    return Ok(Some(finding(&walk, &[], (FailureKind::Operation, message), false)));
                }
            }
            if walk.place().instruction > self.scenario.max_instructions {
                return Err(StepError::TooLong { steps: walk.place().instruction });
            }
        }
    }

    fn finish(&self, mut walk: Walk<'_>) -> Result<Option<Finding>, StepError> {
        let mut found = finding(&walk, &[], (FailureKind::Operation, String::new()), false);
        Ok(walk.let_go(self.scenario.watchdog)?.map(|message| {
            found.message = format!("operation {message}");
            found
        }))
    }

    /// Looks at the image of `walk`, which has died after the victims of `path`; new images go to
    /// survivors, and to survivors that are killed in their turn.
    fn visit(
        &mut self,
        walk: &Walk<'_>,
        path: &[Place],
        dead: &[u32],
    ) -> Result<Option<Finding>, StepError> {
        let new = self.is_new(walk, path);
        if path.is_empty() && (new || walk.changed()) && self.repeated.insert(self.key(walk, path))
        {
            self.points.push(walk.place());
        }
        if !new {
            return Ok(None);
        }
        if !self.scenario.has_copies() {
            // See `kill_for_real`.
            return Ok(None);
        }
        let path = [path, &[walk.place()]].concat();
        let dead = [dead, &[walk.victim().tid()]].concat();
        let target = self.target;
        if target.is_none_or(|target| target.is(&path, false))
            && let Some(broken) = self.judge_copy(walk.image(), &dead)?
        {
            return Ok(Some(finding(walk, &path, broken, false)));
        }
        let deeper = path.len() < usize::try_from(self.scenario.depth).unwrap_or(usize::MAX);
        if deeper && target.is_none_or(|target| target.is_below(&path)) {
            let changes = changes(&self.initial, walk.image());
            self.left.push_back(Left { changes, path, dead });
        }
        Ok(None)
    }

    pub(super) fn is_new(&mut self, walk: &Walk<'_>, path: &[Place]) -> bool {
        if let Some(target) = self.target {
            let path = [path, &[walk.place()]].concat();
            return target.is(&path, false) || target.is(&path, true) || target.is_below(&path);
        }
        if !walk.changed() {
            return false;
        }
        let new = self.seen.insert(self.key(walk, path));
        self.tally.images += u64::from(new);
        new
    }

    /// Survivors on a copy cannot tell whether the victim slept; live peers can.
    fn key(&self, walk: &Walk<'_>, path: &[Place]) -> Key {
        let company = !self.scenario.peers.is_empty();
        let phase = if company { walk.place().phase } else { Phase::Running };
        let calls = [path, &[walk.place()]].concat();
        let calls = calls.iter().filter_map(|place| Some(place.after_call?.calls)).collect();
        (changes(&self.initial, walk.image()), phase, calls)
    }

    fn judge_copy(&mut self, image: &[u8], dead: &[u32]) -> Result<Option<Broken>, StepError> {
        let arena = Arena::holding(image, self.region).during("memfd_create or mmap")?;
        self.tally.recoveries += 1;
        survivors::judge(self.scenario, self.region, Some(&arena), dead, Part::Whole)
    }

    /// Kill inside recovery: steps it on a copy of an image, and looks at what it leaves.
    fn walk_recovery(&mut self, left: &Left) -> Result<Option<Finding>, StepError> {
        let Left { changes, path, dead } = left;
        let Scenario { recovery: Some(recovery), liveness, watchdog, .. } = self.scenario else {
            return Ok(None);
        };
        let mut image = self.initial.clone();
        apply(changes, &mut image);
        let arena = Arena::holding(&image, self.region).during("memfd_create or mmap")?;
        let region = self.region;
        let mut walk =
            Walk::start(recovery, region, Some(&arena), dead, liveness.as_ref(), *watchdog)?;
        loop {
            if let Some(finding) = self.visit(&walk, path, dead)? {
                return Ok(Some(finding));
            }
            match walk.advance()? {
                Progress::Moved => {}
                // What sleeps or ends here was judged when it ran untraced.
                Progress::Asleep | Progress::Finished => return Ok(None),
                Progress::Failed(message) => {
                    let path = [path.as_slice(), &[walk.place()]].concat();
                    let broken = (FailureKind::Recovery, format!("recovery {message}"));
                    return Ok(Some(finding(&walk, &path, broken, false)));
                }
            }
            if walk.place().instruction > self.scenario.max_instructions {
                return Err(StepError::TooLong { steps: walk.place().instruction });
            }
        }
    }
}

/// A failure at the place where `walk` stands; `path` includes that place.
pub(super) fn finding(
    walk: &Walk<'_>,
    path: &[Place],
    (kind, message): Broken,
    real: bool,
) -> Finding {
    let here = [walk.place()];
    let path = if path.is_empty() { &here } else { path };
    let (changed_at, changes) = walk.last_change();
    let how = if real { "by SIGKILL" } else { "on a copy of the memory" };
    Finding {
        kind,
        message,
        path: path.to_vec(),
        trail: walk.trail(),
        next: walk.next_address(),
        changed_at,
        changes,
        replay: replay::name(path, real),
        how: how.to_owned(),
    }
}
