//! How a long pass goes on.

use std::time::Instant;

/// From the reports of its batches.
pub(super) struct PassClock {
    begin: Instant,
    done: usize,
    total: usize,
    /// Pairs of a pass, all ranks.
    n_pairs: u64,
}

impl PassClock {
    pub fn new(n_pairs: u64, now: Instant) -> Self {
        Self { begin: now, done: usize::MAX, total: 0, n_pairs }
    }

    /// So many batches are done; where they are far fewer than before, another pass has begun.
    pub fn has_done(&mut self, done: usize, total: usize, now: Instant) {
        // threads may report in another order than they finish
        if done.saturating_mul(2) < self.done || total != self.total {
            self.begin = now;
        }
        (self.done, self.total) = (done, total);
    }

    /// How far it is, how fast it goes, how long it will take.
    pub fn words(&self, now: Instant) -> String {
        let mut words = format!("batch {} of {}", self.done, self.total);
        let seconds = now.duration_since(self.begin).as_secs_f64();
        // the first batches say little
        if seconds > 0.5 && self.done > 0 {
            let rate = self.n_pairs as f64 * self.done as f64 / self.total as f64 / seconds;
            let left = seconds * self.total.saturating_sub(self.done) as f64 / self.done as f64;
            words += &format!(", {} pairs/s, {left:.0} s left in this pass", with_prefix(rate));
        }
        words
    }
}

/// A number with three digits and its prefix.
fn with_prefix(x: f64) -> String {
    let (x, prefix) = match x {
        x if x >= 1e9 => (x / 1e9, " G"),
        x if x >= 1e6 => (x / 1e6, " M"),
        x if x >= 1e3 => (x / 1e3, " k"),
        x => (x, ""),
    };
    let decimals = if x < 10.0 { 2 } else { usize::from(x < 100.0) };
    format!("{x:.decimals$}{prefix}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_long_pass_tells_its_rate_and_the_time_left() {
        let begin = Instant::now();
        let mut clock = PassClock::new(1_000_000_000, begin);
        for done in [90, 100, 1, 3, 2] {
            clock.has_done(done, 100, begin + Duration::from_secs(done as u64 / 10));
        }
        assert_eq!(clock.begin, begin, "of the pass that began last");
        assert_eq!(clock.words(begin), "batch 2 of 100");
        clock.has_done(25, 100, begin + Duration::from_secs(10));
        let later = begin + Duration::from_secs(10);
        assert_eq!(clock.words(later), "batch 25 of 100, 25.0 M pairs/s, 30 s left in this pass");
    }

    #[test]
    fn numbers_have_three_digits() {
        assert_eq!([0.5, 12.3, 1234.0, 3.2e10].map(with_prefix), ["0.50", "12.3", "1.23 k", "32.0 G"]);
    }
}
