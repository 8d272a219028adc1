//! Two stepped processes on one region.

use super::super::engine::finding;
use super::super::error::StepError;
use super::super::finding::{FailureKind, Finding};
use super::super::region::Region;
use super::super::scenario::Scenario;
use super::super::walk::{Progress, Walk};
use super::schedule::{Choice, Chooser};
use std::fmt::Write as _;

/// How a run ended.
#[derive(Debug)]
pub(super) enum End {
    /// Both have returned, or died as they should.
    Over,
    /// One crashed.
    Failed(String),
    /// Nobody can go on.
    Stuck(String),
}

/// What a process does at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It stands before an instruction that the other could notice.
    Ready,
    /// The same, in a spin loop: the other should run first.
    Waiting,
    /// In a system call.
    Asleep,
    /// It has returned.
    Returned,
    /// It was killed.
    Dead,
}

/// Noticeable instructions that one process may execute while the other is ready: it spins.
const SPINS: u32 = 1000;

/// Two processes under one schedule.
#[derive(Debug)]
pub(super) struct Pair<'a> {
    scenario: &'a Scenario,
    region: &'a Region,
    walks: [Walk<'a>; 2],
    states: [State; 2],
    /// Who executed last, and for how long without a switch.
    current: usize,
    in_a_row: u32,
    may_kill: bool,
    /// `(process, noticeable instructions)` in order.
    turns: Vec<(usize, u32)>,
}

impl<'a> Pair<'a> {
    pub(super) fn start(
        scenario: &'a Scenario,
        region: &'a Region,
        may_kill: bool,
    ) -> Result<Pair<'a>, StepError> {
        let Scenario { operation: Some(operation), against: Some(against), .. } = scenario else {
            return Err(scenario.incomplete("against"));
        };
        let (liveness, limit) = (scenario.liveness.as_ref(), scenario.watchdog);
        let first = Walk::start(operation, region, None, &[], liveness, limit)?;
        let second = Walk::start(against, region, None, &[], liveness, limit)?;
        Ok(Pair {
            scenario,
            region,
            walks: [first, second],
            states: [State::Ready; 2],
            current: 0,
            in_a_row: 0,
            may_kill,
            turns: Vec::new(),
        })
    }

    /// Runs both to their ends.
    pub(super) fn run(&mut self, chooser: &mut Chooser) -> Result<End, StepError> {
        for who in [0, 1] {
            if let Some(message) = self.approach(who)? {
                return Ok(End::Failed(message));
            }
        }
        loop {
            if let Some(message) = self.look_for_the_woken()? {
                return Ok(End::Failed(message));
            }
            let choices = self.choices();
            let Some(first) = choices.first().copied() else {
                if let Some(end) = self.nobody_runs()? {
                    return Ok(end);
                }
                continue;
            };
            let chosen = match choices.as_slice() {
                [_] => first,
                several => {
                    // Who starts is free.
                    let running = self.states[self.current] == State::Ready;
                    let preempts = running && !self.turns.is_empty();
                    chooser.choose(several, preempts)
                }
            };
            match chosen {
                Choice::Kill => self.kill()?,
                Choice::Run(who) => {
                    if let Some(message) = self.execute(who)? {
                        return Ok(End::Failed(message));
                    }
                }
            }
            if self.instructions() > self.scenario.max_instructions {
                let text = "neither ends: both spin, or `.max_instructions(..)` is too low";
                return Ok(End::Stuck(text.to_owned()));
            }
        }
    }

    /// Who may execute, the current process first; then the death.
    fn choices(&self) -> Vec<Choice> {
        let other = 1 - self.current;
        let spins = self.in_a_row > SPINS && self.states[other] == State::Ready;
        let order = if spins { [other, self.current] } else { [self.current, other] };
        let ready = |state| order.into_iter().filter(move |who| self.states[*who] == state);
        let mut choices: Vec<Choice> = ready(State::Ready).map(Choice::Run).collect();
        if choices.is_empty() {
            choices.extend(ready(State::Waiting).map(Choice::Run));
        }
        let alive = !matches!(self.states[0], State::Returned | State::Dead);
        if self.may_kill && alive && !choices.is_empty() {
            choices.push(Choice::Kill);
        }
        choices
    }

    /// Executes one noticeable instruction of `who`, and all that follow until the next.
    fn execute(&mut self, who: usize) -> Result<Option<String>, StepError> {
        if who == self.current {
            self.in_a_row += 1;
        } else {
            self.in_a_row = 0;
        }
        self.current = who;
        match self.turns.last_mut() {
            Some((last, count)) if *last == who => *count += 1,
            _ => self.turns.push((who, 1)),
        }
        if self.states[1 - who] == State::Waiting {
            self.states[1 - who] = State::Ready;
        }
        let progress = self.walks[who].advance()?;
        self.settle(who, progress)
    }

    fn settle(&mut self, who: usize, progress: Progress) -> Result<Option<String>, StepError> {
        match progress {
            Progress::Moved => self.approach(who),
            Progress::Asleep => {
                self.states[who] = State::Asleep;
                Ok(None)
            }
            Progress::Finished => {
                self.states[who] = State::Returned;
                Ok(None)
            }
            Progress::Failed(message) => {
                self.current = who;
                Ok(Some(message))
            }
        }
    }

    /// Steps `who` up to its next noticeable instruction.
    fn approach(&mut self, who: usize) -> Result<Option<String>, StepError> {
        self.states[who] = State::Ready;
        loop {
            let walk = &mut self.walks[who];
            if walk.gives_way() {
                self.states[who] = State::Waiting;
            }
            if walk.is_noticeable() || walk.place().instruction > self.scenario.max_instructions {
                return Ok(None);
            }
            match walk.advance_unseen()? {
                Progress::Moved => {}
                other => return self.settle(who, other),
            }
        }
    }

    fn look_for_the_woken(&mut self) -> Result<Option<String>, StepError> {
        for who in [0, 1] {
            if self.states[who] == State::Asleep
                && let Some(progress) = self.walks[who].woken()?
                && let Some(message) = self.settle(who, progress)?
            {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    /// Nobody can execute: over, or somebody still sleeps.
    fn nobody_runs(&mut self) -> Result<Option<End>, StepError> {
        let asleep: Vec<usize> =
            [0, 1].into_iter().filter(|who| self.states[*who] == State::Asleep).collect();
        if asleep.is_empty() {
            return Ok(Some(End::Over));
        }
        // A wake-up may be on its way, or a timeout may pass.
        for who in &asleep {
            let share = self.scenario.watchdog / u32::try_from(asleep.len()).unwrap_or(1);
            if let Some(progress) = self.walks[*who].wake_within(share)? {
                return Ok(self.settle(*who, progress)?.map(End::Failed));
            }
        }
        self.current = asleep[0];
        let text = match asleep.len() {
            2 => "both sleep, and nobody wakes them",
            _ => "one sleeps on, and the other is gone: the wake-up is lost",
        };
        Ok(Some(End::Stuck(text.to_owned())))
    }

    fn kill(&mut self) -> Result<(), StepError> {
        self.walks[0].look();
        let victim = self.walks[0].victim().clone();
        self.walks[0].kill()?;
        self.scenario.liveness.after_sigkill(&victim, self.region);
        self.region.deaths().bury(victim.tid());
        self.states[0] = State::Dead;
        self.current = 1;
        self.in_a_row = 0;
        self.turns.push((0, 0));
        Ok(())
    }

    /// The thread that was killed.
    pub(super) fn killed(&self) -> Option<u32> {
        (self.states[0] == State::Dead).then(|| self.walks[0].victim().tid())
    }

    /// Instructions executed by both.
    pub(super) fn instructions(&self) -> u64 {
        self.walks.iter().map(|walk| walk.place().instruction).sum()
    }

    /// Lets those who have returned end; an error of theirs.
    pub(super) fn release(&mut self) -> Result<Option<String>, StepError> {
        for who in [0, 1] {
            if self.states[who] == State::Returned
                && let Some(message) = self.walks[who].let_go(self.scenario.watchdog)?
            {
                self.current = who;
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    /// Who ran when, in noticeable instructions.
    pub(super) fn history(&self) -> String {
        let mut text = String::from("    ");
        for (who, count) in &self.turns {
            let name = ["operation", "against"][*who];
            // Writing to a String does not fail.
            let _ = match count {
                0 => write!(text, "{name} is killed; "),
                _ => write!(text, "{name} x{count}; "),
            };
        }
        text.push_str("(in instructions that the other could notice)");
        text
    }

    /// A failure, shown where the process that ran last stands.
    pub(super) fn finding(
        &self,
        kind: FailureKind,
        message: String,
        how: String,
        replay: String,
    ) -> Finding {
        let places = [self.walks[0].place(), self.walks[1].place()];
        let found = finding(&self.walks[self.current], &places, (kind, message), true);
        Finding { how, replay, ..found }
    }
}
