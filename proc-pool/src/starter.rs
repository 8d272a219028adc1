//! Where a pool's new workers come from: `posix_spawn`, or a fork server.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::PoolError;
use crate::child::{Child, Launch};
use crate::fork_server::{ForkServer, Forked, StartMethod};
use crate::output::WriteEnds;

/// Servers in a row that may end by themselves before they are ready, or whose preload may fail.
const FAILED_SERVERS: u32 = 3;
/// Servers in a row that may be killed (SIGKILL) before they are ready: no fault of theirs.
const KILLED_SERVERS: u32 = 100;

/// Starts workers.
#[derive(Debug)]
pub(crate) enum Starter {
    Spawn(Guard),
    Server(Place),
}

/// A fork server that forks nothing: it only waits for the end of this process, and then ends what
/// is left of the groups of workers that it was told of.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    server: Option<ForkServer>,
    /// Process ids of the workers that it was told of.
    told: Vec<u32>,
}

impl Guard {
    /// Makes sure that there is one, and that it knows these workers. What cannot be done now is
    /// done at the next call.
    fn watch<'a>(&mut self, launch: &Launch, workers: impl Iterator<Item = &'a Child>) {
        if self.server.as_ref().is_none_or(ForkServer::is_gone) {
            self.told.clear();
            self.server = ForkServer::start(launch).ok();
        }
        let Some(server) = &mut self.server else { return };
        // Until then it would end with this process, and do nothing. There is no preload that could
        // fail.
        while !server.is_gone() && !server.is_ready(None).unwrap_or(true) {
            server.wait();
        }
        let before = std::mem::take(&mut self.told);
        let knows = |worker: &&Child| before.contains(&worker.pid()) || server.guard(worker);
        self.told = workers.filter(knows).map(Child::pid).collect();
    }
}

/// Where a fork server is, or comes.
#[derive(Debug, Default)]
pub(crate) struct Place {
    server: Option<ForkServer>,
    /// Whether there was one that was ready.
    served: bool,
    /// Servers that ended before they were ready, without one that was in between.
    failures: u32,
    /// What the last preload that failed said.
    complaint: Option<String>,
    /// Those of them that were killed.
    kills: u32,
}

impl Place {
    /// Lets go of a server that is dead, and counts it.
    fn bury(&mut self) {
        if let Some(server) = self.server.take_if(|server| server.is_gone())
            && !server.was_ready()
        {
            let count = if server.was_killed() { &mut self.kills } else { &mut self.failures };
            *count += 1;
        }
    }

    fn note_ready(&mut self, ready: bool) {
        if ready {
            (self.failures, self.kills, self.complaint) = (0, 0, None);
            self.served = true;
        }
    }

    /// Why no more servers are started.
    fn hopeless(&self) -> PoolError {
        match &self.complaint {
            Some(complaint) => PoolError::InitializerFailed {
                reason: format!("{complaint} (fork servers in a row: {})", self.failures),
            },
            None => PoolError::WorkersDoNotStart {
                reason: "the fork server ends before it is ready".to_owned(),
            },
        }
    }

    fn is_ready(&mut self, launch: &Launch) -> Result<bool, PoolError> {
        self.bury();
        if let Some(server) = &mut self.server {
            return match server.is_ready(launch.preload.as_ref()) {
                Ok(ready) => {
                    self.note_ready(ready);
                    Ok(ready)
                }
                Err(error) => {
                    self.server = None;
                    self.failures += 1;
                    self.complaint = Some(error.to_string());
                    // A first preload that fails is the pool's failure; a later one is repeated.
                    if self.served { Ok(false) } else { Err(error) }
                }
            };
        }
        if self.failures >= FAILED_SERVERS || self.kills >= KILLED_SERVERS {
            return Err(self.hopeless());
        }
        self.server = Some(ForkServer::start(launch)?);
        Ok(false)
    }
}

impl Starter {
    pub fn new(method: StartMethod) -> Starter {
        match method {
            StartMethod::Spawn => Starter::Spawn(Guard::default()),
            StartMethod::Server => Starter::Server(Place::default()),
        }
    }

    /// Whether a worker can be started just now. Starts a server where there is none; an error
    /// when servers keep ending before they are ready, or the preload fails.
    pub fn is_ready(&mut self, launch: &Launch) -> Result<bool, PoolError> {
        match self {
            Starter::Spawn(_) => Ok(true),
            Starter::Server(place) => place.is_ready(launch),
        }
    }

    /// Waits until workers can be started.
    pub fn wait_until_ready(&mut self, launch: &Launch) -> Result<(), PoolError> {
        while !self.is_ready(launch)? {
            if let Starter::Server(Place { server: Some(server), .. }) = self {
                server.wait();
            }
        }
        Ok(())
    }

    /// Starts a worker with this socket, and this output or the pool's; `None` when it must be tried again.
    pub fn start(
        &mut self,
        launch: &Launch,
        socket: OwnedFd,
        output: Option<WriteEnds>,
        give_up: impl FnMut() -> bool,
    ) -> Result<Option<Child>, PoolError> {
        let Starter::Server(Place { server: place, .. }) = self else {
            return Child::start(launch, socket, output).map(Some);
        };
        let Some(server) = place else { return Ok(None) };
        let files: Vec<BorrowedFd<'_>> =
            std::iter::once(&socket).chain(output.iter().flatten()).map(AsFd::as_fd).collect();
        match server.fork(&files, give_up) {
            Forked::Child(child) => Ok(Some(child)),
            Forked::Refused(errno) => Err(PoolError::system("clone3")(errno)),
            Forked::ServerGone => {
                *place = None;
                Ok(None)
            }
        }
    }

    /// What is readable when [`is_ready`](Starter::is_ready) should be asked.
    pub fn watched(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let server = match self {
            Starter::Server(place) => place.server.as_ref(),
            Starter::Spawn(guard) => guard.server.as_ref(),
        };
        server.into_iter().flat_map(ForkServer::watched)
    }

    /// Lets go of a server that is dead, so that it is reaped.
    pub fn look(&mut self) {
        if let Starter::Server(place) = self {
            place.bury();
        }
    }

    /// Ends the server.
    pub fn end(&mut self) {
        match self {
            Starter::Server(place) => place.server = None,
            Starter::Spawn(guard) => guard.server = None,
        }
    }

    /// Has what these workers start end with this process, where that is wanted. (A fork server does
    /// it for those that it makes.)
    pub fn guard<'a>(&mut self, launch: &Launch, workers: impl Iterator<Item = &'a Child>) {
        if let Starter::Spawn(guard) = self
            && launch.guard
        {
            guard.watch(launch, workers);
        }
    }
}
