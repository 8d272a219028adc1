//! The same points, left by a real `SIGKILL`: a sample, or all of them where peers are alive.

use std::time::Instant;

use super::child::{Child, Ended};
use super::engine::{Engine, finding};
use super::error::{During, StepError};
use super::finding::{FailureKind, Finding, Phase, Place};
use super::scenario::Scenario;
use super::survivors::{self, Broken, Part, describe_end};
use super::sys;
use super::trace::back_off;
use super::walk::{Progress, Walk};

/// Before the first instruction.
const NOWHERE: Place =
    Place { instruction: 0, address: 0, phase: Phase::Running, after_call: None };

/// Live bystanders of one run, and whether the waker has rung.
#[derive(Debug, Default)]
pub(super) struct Company {
    peers: Vec<Child>,
    rung: bool,
}

/// The last victim of a chain of real kills, and those who live on.
#[derive(Debug)]
struct Scene<'a> {
    victim: Walk<'a>,
    company: Company,
    dead: Vec<u32>,
}

impl<'a> Engine<'a> {
    /// Repeats distinct points with a real kill: a sample, or each where there are no copies.
    pub(super) fn kill_for_real(&mut self) -> Result<Option<Finding>, StepError> {
        for place in self.chosen() {
            if let Some(finding) = self.explore_real(&[place])? {
                return Ok(Some(finding));
            }
        }
        Ok(None)
    }

    /// What was found on a copy is tried once more with a real kill.
    pub(super) fn confirm(&mut self, found: Finding) -> Result<Finding, StepError> {
        let on_copy = !found.replay.ends_with('!');
        let [place] = found.path.as_slice() else { return Ok(found) };
        if !on_copy || found.kind == FailureKind::Operation || self.scenario.real_kills == 0 {
            return Ok(found);
        }
        let how = match self.judge_real(&[*place])? {
            Some(_) => "on a copy of the memory, and again by a real SIGKILL",
            None => "on a copy of the memory; a real SIGKILL at this point did no harm",
        };
        Ok(Finding { how: how.to_owned(), ..found })
    }

    fn chosen(&self) -> Vec<Place> {
        let all = &self.points;
        if let Some(target) = self.target {
            let wanted = |at: &Place| target.is(&[*at], true) || target.is_below(&[*at]);
            let real = all.iter().copied().filter(|at| target.is_real() && wanted(at));
            return real.collect();
        }
        let sample = self.scenario.real_kills.min(all.len());
        if !self.scenario.has_copies() || sample == all.len() {
            return all.clone();
        }
        // Evenly spread, both ends included.
        let last = all.len().saturating_sub(1);
        (0..sample).filter_map(|nth| all.get(nth * last / (sample - 1).max(1)).copied()).collect()
    }

    /// Judges one chain of kills, and, where there are no copies to do it on, those that go on
    /// inside the recovery.
    fn explore_real(&mut self, path: &[Place]) -> Result<Option<Finding>, StepError> {
        let wanted = self.target.is_none_or(|target| target.is(path, true));
        if wanted && let Some(finding) = self.judge_real(path)? {
            return Ok(Some(finding));
        }
        let deeper = path.len() < usize::try_from(self.scenario.depth).unwrap_or(usize::MAX);
        if self.scenario.has_copies() || !deeper {
            return Ok(None);
        }
        for next in self.points_after(path)? {
            if let Some(finding) = self.explore_real(&[path, &[next]].concat())? {
                return Ok(Some(finding));
            }
        }
        Ok(None)
    }

    fn judge_real(&mut self, path: &[Place]) -> Result<Option<Finding>, StepError> {
        let mut scene = self.stage(path)?;
        self.tally.real_kills += 1;
        if let Some(broken) = self.compare(&scene) {
            return Ok(Some(finding(&scene.victim, path, broken, true)));
        }
        self.tally.recoveries += 1;
        let broken = if self.scenario.peers.is_empty() {
            survivors::judge(self.scenario, self.region, None, &scene.dead, Part::Whole)?
        } else {
            self.judge_in_company(&mut scene)?
        };
        let found = broken.map(|broken| finding(&scene.victim, path, broken, true));
        drop(scene);
        if found.is_some() && self.skips {
            // Once more, step by step, to show the instructions that led there. What the broken
            // case has left behind may stand in the way of that.
            self.skips = false;
            if let Ok(Some(shown)) = self.judge_real(path) {
                return Ok(Some(shown));
            }
        }
        Ok(found)
    }

    /// Runs and kills the operation, then the recoveries, at the places of `path`.
    fn stage(&self, path: &[Place]) -> Result<Scene<'a>, StepError> {
        self.region.copy_in(&self.initial);
        self.region.deaths().forget();
        let mut company = Company::default();
        let mut victim = self.start_operation()?;
        let (first, rest) = path.split_first().unwrap_or((&NOWHERE, &[]));
        self.reach(&mut victim, *first, &mut company)?;
        let mut dead = vec![self.kill_walk(&mut victim)?];
        if !self.scenario.peers.is_empty() {
            self.start_peers(&mut company.peers)?;
            if !company.rung {
                self.run_waker()?;
            }
        }
        for place in rest {
            victim = self.start_recovery(&dead)?;
            self.reach(&mut victim, *place, &mut company)?;
            dead.push(self.kill_walk(&mut victim)?);
        }
        Ok(Scene { victim, company, dead })
    }

    fn kill_walk(&self, walk: &mut Walk<'_>) -> Result<u32, StepError> {
        let tid = walk.victim().tid();
        walk.kill()?;
        self.scenario.liveness.after_sigkill(walk.victim(), self.region);
        self.region.deaths().bury(tid);
        Ok(tid)
    }

    fn start_recovery(&self, dead: &[u32]) -> Result<Walk<'a>, StepError> {
        let Scenario { recovery, liveness, watchdog, .. } = self.scenario;
        let recovery = recovery.as_ref().ok_or_else(|| self.scenario.incomplete("recovery"))?;
        let walk = Walk::start(recovery, self.region, None, dead, liveness.as_ref(), *watchdog)?;
        Ok(if self.scenario.each_call { walk.counting_calls() } else { walk })
    }

    /// Where the recovery after `path` can be killed with a difference: behind each change of the
    /// memory; with live peers, who change it too, behind each instruction that they can notice.
    fn points_after(&mut self, path: &[Place]) -> Result<Vec<Place>, StepError> {
        if self.scenario.recovery.is_none() {
            return Ok(Vec::new());
        }
        let scene = self.stage(path)?;
        let mut walk = self.start_recovery(&scene.dead)?;
        let alone = self.scenario.peers.is_empty();
        let mut found = Vec::new();
        while walk.place().instruction <= self.scenario.max_instructions {
            let noticeable = !alone && walk.is_noticeable();
            if walk.advance()? != Progress::Moved {
                break;
            }
            let here = walk.place();
            let next = [path, &[here]].concat();
            let new = match self.target {
                Some(target) => target.is(&next, true) || target.is_below(&next),
                None if alone => self.is_new(&walk, path),
                None => noticeable,
            };
            found.extend(new.then_some(here));
        }
        Ok(found)
    }

    /// Steps to `place`, with the waker and the peers in their places.
    fn reach(
        &self,
        walk: &mut Walk<'_>,
        place: Place,
        company: &mut Company,
    ) -> Result<(), StepError> {
        // Whoever may sleep is watched all the way.
        let skips = self.skips && !self.sleeps && self.scenario.peers.is_empty();
        if skips && !walk.skip_to(&place, self.scenario.watchdog)? {
            return Ok(());
        }
        while !place.is_reached_at(&walk.place()) {
            let mut progress = walk.advance()?;
            if progress == Progress::Asleep {
                self.start_peers(&mut company.peers)?;
                if place.is_reached_at(&walk.place()) {
                    return Ok(());
                }
                match self.ring(walk, company)? {
                    Some(woken) => progress = woken,
                    None => return Ok(()),
                }
            }
            if matches!(progress, Progress::Finished | Progress::Failed(_)) {
                // Another path than on the first walk; its end is as good a point as any.
                return Ok(());
            }
        }
        Ok(())
    }

    /// The kit's stamp against the kernel's work.
    fn compare(&self, scene: &Scene<'_>) -> Option<Broken> {
        if !self.scenario.peers.is_empty() {
            return None;
        }
        let mut left = Vec::new();
        self.region.copy_out(&mut left);
        (left != scene.victim.image()).then(|| {
            let text = "a real kill leaves other memory than the kit predicts: \
                        check `.liveness(..)`, and that nothing else writes to the region";
            (FailureKind::Stamp, text.to_owned())
        })
    }

    fn judge_in_company(&self, scene: &mut Scene<'_>) -> Result<Option<Broken>, StepError> {
        let dead = &scene.dead;
        let judge = |part| survivors::judge(self.scenario, self.region, None, dead, part);
        if let Some(broken) = judge(Part::Recovery)? {
            return Ok(Some(broken));
        }
        for peer in &mut scene.company.peers {
            let ended = peer.wait_within(self.scenario.watchdog).during("waitpid")?;
            if ended != Ended::Well {
                let text = format!("a live peer {}", describe_end(&ended));
                return Ok(Some((FailureKind::Peer, text)));
            }
        }
        judge(Part::Rest)
    }

    /// Wakes a victim that sleeps: `None` when it sleeps on. Without a waker, a sleep that can end
    /// by itself is waited for.
    pub(super) fn wake(
        &self,
        walk: &mut Walk<'_>,
        company: &mut Company,
    ) -> Result<Option<Progress>, StepError> {
        self.start_peers(&mut company.peers)?;
        self.ring(walk, company)
    }

    fn ring(
        &self,
        walk: &mut Walk<'_>,
        company: &mut Company,
    ) -> Result<Option<Progress>, StepError> {
        if !company.rung && self.scenario.waker.is_some() && !walk.sleeps_for_a_time() {
            company.rung = true;
            self.run_waker()?;
        } else if walk.sleeps_for_ever() {
            return Ok(None);
        }
        walk.wake_within(self.scenario.watchdog)
    }

    fn run_waker(&self) -> Result<(), StepError> {
        let Some(waker) = &self.scenario.waker else { return Ok(()) };
        let mut child = Child::spawn(|_| waker(self.region)).during("fork")?;
        self.must_end_well(&mut child, "waker")
    }

    /// Starts the peers once, and waits until each sleeps or has ended.
    fn start_peers(&self, peers: &mut Vec<Child>) -> Result<(), StepError> {
        if !peers.is_empty() {
            return Ok(());
        }
        for peer in &self.scenario.peers {
            let child = Child::spawn(|_| peer(self.region)).during("fork")?;
            self.settle(&child)?;
            peers.push(child);
        }
        Ok(())
    }

    fn settle(&self, child: &Child) -> Result<(), StepError> {
        let start = Instant::now();
        let (mut polls, mut asleep) = (0, 0);
        // Asleep at several looks in a row: not merely on its way through a short call.
        while asleep < 5 && !child.has_ended().during("poll")? {
            asleep = if sys::is_asleep(child.pid()) { asleep + 1 } else { 0 };
            polls += 1;
            back_off(polls);
            if start.elapsed() > self.scenario.watchdog * 20 {
                let limit = self.scenario.watchdog;
                return Err(StepError::Slow { part: "peer".to_owned(), limit });
            }
        }
        Ok(())
    }
}
