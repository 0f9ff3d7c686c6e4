//! Faults on purpose, so that tests can show how a job with a failing rank ends.
//!
//! `HOMODYNE_FAULT=RANK:PASS:KIND` makes rank RANK fail when it begins its PASS-th pass (from 1). KIND is `panic`, `error`,
//! `kill` (ends the process without a word, as an out-of-memory killer would), `signal` (gets a SIGTERM), `warn` (says so
//! and goes on), or `wait=MS` (it and all passes after it begin
//! so many ms late).

use std::time::Duration;

use crate::{Error, Result};

/// Counts passes and fails when told to.
pub(super) struct Fault {
    plan: Option<(u64, String)>,
    passes: u64,
    rank: usize,
}

impl Fault {
    pub fn from_environment(rank: usize) -> Self {
        let plan = std::env::var("HOMODYNE_FAULT").ok().and_then(|text| {
            let mut parts = text.splitn(3, ':');
            let (own, pass, kind) = (parts.next()?, parts.next()?, parts.next()?);
            (own.parse() == Ok(rank)).then_some((pass.parse().ok()?, kind.to_string()))
        });
        Self { plan, passes: 0, rank }
    }

    /// To be called at the beginning of every pass.
    pub fn check(&mut self) -> Result<()> {
        self.passes += 1;
        match &self.plan {
            Some((pass, kind)) if kind.starts_with("wait=") => {
                if *pass <= self.passes {
                    std::thread::sleep(Duration::from_millis(kind[5..].parse().unwrap_or(0)));
                }
                Ok(())
            }
            Some((pass, kind)) if *pass == self.passes => match kind.as_str() {
                "panic" => panic!("a fault was asked for by HOMODYNE_FAULT"),
                "kill" => std::process::abort(),
                "signal" => signal_hook::low_level::raise(signal_hook::consts::SIGTERM)
                    .map_err(|e| Error::Rank { rank: self.rank, message: format!("cannot raise a signal: {e}") }),
                "warn" => {
                    log::warn!("a fault was asked for by HOMODYNE_FAULT");
                    Ok(())
                }
                _ => {
                    Err(Error::Rank { rank: self.rank, message: "a fault was asked for by HOMODYNE_FAULT".to_string() })
                }
            },
            _ => Ok(()),
        }
    }
}
