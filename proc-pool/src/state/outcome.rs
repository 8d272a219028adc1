//! From a worker's answer to a result, or the error that it reports.

use crate::codec::{self, Arrived};
use crate::error::TaskError;
use crate::frames::PanicFrames;
use crate::link::Answer;
use crate::protocol;
use crate::worker::PanicReport;

/// An answer as a result or the error it reports.
pub(crate) fn outcome(task: &'static str, answer: Answer) -> Result<Answer, TaskError> {
    match error(task, answer.head.outcome, &answer.body) {
        None => Ok(answer),
        Some(error) => Err(error),
    }
}

/// The error that an outcome and its body report; `None` for a result.
pub(crate) fn error(
    task: &'static str,
    outcome: protocol::Outcome,
    body: &[u8],
) -> Option<TaskError> {
    let text = || String::from_utf8_lossy(body);
    Some(match outcome {
        protocol::Outcome::Done | protocol::Outcome::Records => return None,
        protocol::Outcome::Panicked => {
            let report = codec::decode(body, &mut Arrived { rest: &[] });
            let report = report.unwrap_or_else(|reason| PanicReport {
                message: reason,
                location: "unknown".to_owned(),
                frames: PanicFrames::default(),
            });
            let PanicReport { message, location, frames } = report;
            TaskError::Panicked { task, message, location, frames }
        }
        protocol::Outcome::BadInput => {
            TaskError::Decode { task, reason: format!("its input: {}", text()) }
        }
        protocol::Outcome::BadOutput => {
            TaskError::Decode { task, reason: format!("its result: {}", text()) }
        }
        protocol::Outcome::Unknown => TaskError::Unknown { task },
        protocol::Outcome::Declined => TaskError::Cancelled { task },
    })
}
