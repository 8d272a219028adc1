//! Where a pool's new workers come from: `posix_spawn`, or a fork server.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::PoolError;
use crate::child::{Child, Launch};
use crate::fork_server::{ForkServer, Forked, StartMethod};
use crate::output::WriteEnds;

/// Servers in a row that may end before they are ready.
const FAILED_SERVERS: u32 = 3;

/// Starts workers.
#[derive(Debug)]
pub(crate) enum Starter {
    Spawn,
    Server {
        server: Option<ForkServer>,
        /// Servers that ended, without one that was ready in between.
        failures: u32,
    },
}

impl Starter {
    pub fn new(method: StartMethod) -> Starter {
        match method {
            StartMethod::Spawn => Starter::Spawn,
            StartMethod::Server => Starter::Server { server: None, failures: 0 },
        }
    }

    /// Whether a worker can be started just now. Starts a server where there is none; an error
    /// when servers keep ending before they are ready, or the preload fails.
    pub fn is_ready(&mut self, launch: &Launch) -> Result<bool, PoolError> {
        let Starter::Server { server, failures } = self else { return Ok(true) };
        if let Some(running) = server {
            let ready = running.is_ready(launch.preload.as_ref()).inspect_err(|_| *failures += 1);
            let gone = running.is_gone();
            if gone || ready.is_err() {
                *server = None;
            }
            match ready? {
                true if gone => {}
                ready if !gone => {
                    *failures = if ready { 0 } else { *failures };
                    return Ok(ready);
                }
                _ => *failures += 1,
            }
        }
        if *failures >= FAILED_SERVERS {
            *failures = 0;
            let reason = "the fork server ends before it is ready".to_owned();
            return Err(PoolError::WorkersDoNotStart { reason });
        }
        *server = Some(ForkServer::start(launch)?);
        Ok(false)
    }

    /// Waits until workers can be started.
    pub fn wait_until_ready(&mut self, launch: &Launch) -> Result<(), PoolError> {
        while !self.is_ready(launch)? {
            if let Starter::Server { server: Some(server), .. } = self {
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
        let Starter::Server { server: place, .. } = self else {
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
            Starter::Server { server, .. } => server.as_ref(),
            Starter::Spawn => None,
        };
        server.into_iter().flat_map(ForkServer::watched)
    }

    /// Lets go of a server that is dead, so that it is reaped.
    pub fn look(&mut self) {
        if let Starter::Server { server, .. } = self
            && server.as_ref().is_some_and(ForkServer::is_gone)
        {
            *server = None;
        }
    }

    /// Ends the server.
    pub fn end(&mut self) {
        if let Starter::Server { server, .. } = self {
            *server = None;
        }
    }
}
