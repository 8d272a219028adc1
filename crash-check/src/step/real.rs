//! The same points, left by a real `SIGKILL`: a sample, or all of them where peers are alive.

use std::time::Instant;

use super::child::{Child, Ended};
use super::engine::{Engine, finding};
use super::error::{During, StepError};
use super::finding::{FailureKind, Finding, Phase, Place};
use super::survivors::{self, Broken, Part, describe_end};
use super::sys;
use super::trace::back_off;
use super::walk::{Progress, Walk};

/// Live bystanders of one run, and whether the waker has rung.
#[derive(Debug, Default)]
struct Company {
    peers: Vec<Child>,
    rung: bool,
}

impl Engine<'_> {
    /// Repeats distinct points with a real kill: each where peers are alive, else a sample.
    pub(super) fn kill_for_real(&mut self) -> Result<Option<Finding>, StepError> {
        for place in self.chosen() {
            if let Some(finding) = self.kill_at(place)? {
                return Ok(Some(finding));
            }
        }
        Ok(None)
    }

    /// What was found on a copy is tried once more with a real kill.
    pub(super) fn confirm(&mut self, found: Finding) -> Result<Finding, StepError> {
        let [place] = found.path.as_slice() else { return Ok(found) };
        if found.kind == FailureKind::Operation || self.scenario.real_kills == 0 {
            return Ok(found);
        }
        let how = match self.kill_at(*place)? {
            Some(_) => "on a copy of the memory, and again by a real SIGKILL",
            None => "on a copy of the memory; a real SIGKILL at this point did no harm",
        };
        Ok(Finding { how: how.to_owned(), ..found })
    }

    fn chosen(&self) -> Vec<Place> {
        let all = &self.points;
        if let Some(target) = self.target {
            return all.iter().copied().filter(|at| target.is(&[*at], true)).collect();
        }
        let sample = self.scenario.real_kills.min(all.len());
        if !self.scenario.peers.is_empty() || sample == all.len() {
            return all.clone();
        }
        // Evenly spread, both ends included.
        let last = all.len().saturating_sub(1);
        (0..sample).filter_map(|nth| all.get(nth * last / (sample - 1).max(1)).copied()).collect()
    }

    fn kill_at(&mut self, place: Place) -> Result<Option<Finding>, StepError> {
        self.region.copy_in(&self.initial);
        self.region.forget_the_dead();
        let mut company = Company::default();
        let mut walk = self.start_operation()?;
        self.reach(&mut walk, place, &mut company)?;
        let tid = walk.victim().tid();
        walk.kill()?;
        self.region.bury_for_all(tid);
        self.tally.real_kills += 1;
        self.scenario.liveness.after_sigkill(walk.victim(), self.region);
        if let Some(broken) = self.compare(&walk, &company) {
            return Ok(Some(finding(&walk, &[], broken, true)));
        }
        self.tally.recoveries += 1;
        let broken = if self.scenario.peers.is_empty() {
            survivors::judge(self.scenario, self.region, None, &[tid], Part::Whole)?
        } else {
            self.judge_in_company(&mut company, tid)?
        };
        Ok(broken.map(|broken| finding(&walk, &[], broken, true)))
    }

    /// Steps to `place`, with the waker and the peers in their places.
    fn reach(
        &self,
        walk: &mut Walk<'_>,
        place: Place,
        company: &mut Company,
    ) -> Result<(), StepError> {
        while walk.place().instruction != place.instruction || walk.place().phase != place.phase {
            let mut progress = walk.advance()?;
            if progress == Progress::Asleep {
                self.start_peers(&mut company.peers)?;
                if place.phase == Phase::Asleep && walk.place().instruction == place.instruction {
                    return Ok(());
                }
                company.rung = true;
                match self.ring(walk)? {
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
    fn compare(&self, walk: &Walk<'_>, company: &Company) -> Option<Broken> {
        if !company.peers.is_empty() {
            return None;
        }
        let mut left = Vec::new();
        self.region.copy_out(&mut left);
        (left != walk.image()).then(|| {
            let text = "a real kill leaves other memory than the kit predicts: \
                        check `.liveness(..)`, and that nothing else writes to the region";
            (FailureKind::Stamp, text.to_owned())
        })
    }

    fn judge_in_company(
        &mut self,
        company: &mut Company,
        tid: u32,
    ) -> Result<Option<Broken>, StepError> {
        self.start_peers(&mut company.peers)?;
        if !company.rung {
            self.run_waker()?;
        }
        let judge = |part| survivors::judge(self.scenario, self.region, None, &[tid], part);
        if let Some(broken) = judge(Part::Recovery)? {
            return Ok(Some(broken));
        }
        for peer in &mut company.peers {
            let ended = peer.wait_within(self.scenario.watchdog).during("waitpid")?;
            if ended != Ended::Well {
                let text = format!("a live peer {}", describe_end(&ended));
                return Ok(Some((FailureKind::Peer, text)));
            }
        }
        judge(Part::Rest)
    }

    /// Rings for a victim that sleeps: `None` without a waker, or when it sleeps on.
    pub(super) fn wake(
        &self,
        walk: &mut Walk<'_>,
        peers: &mut Vec<Child>,
    ) -> Result<Option<Progress>, StepError> {
        self.start_peers(peers)?;
        self.ring(walk)
    }

    fn ring(&self, walk: &mut Walk<'_>) -> Result<Option<Progress>, StepError> {
        if !self.run_waker()? {
            return Ok(None);
        }
        walk.wake_within(self.scenario.watchdog)
    }

    fn run_waker(&self) -> Result<bool, StepError> {
        let Some(waker) = &self.scenario.waker else { return Ok(false) };
        let mut child = Child::spawn(|_| waker(self.region)).during("fork")?;
        self.must_end_well(&mut child, "waker")?;
        Ok(true)
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
