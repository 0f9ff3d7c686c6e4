//! Results on their way to the disk: those of the fit as soon as there is one, draws and what they say of it when they are made.
//! What there is to look at comes last and is never worth a number.

use std::io::Write;
use std::path::PathBuf;

use crate::Result;
use crate::dataset::Dataset;
use crate::gram::overview::{Overview, View};
use crate::output::quality::{SmoothPart, smoothness};
use crate::output::{
    Folder, Report, Stage, Truth, closing_report, diagnosis, numbers, page, pictures, write, write_draws,
};
use crate::sampler::Draw;
use crate::telemetry::{Phases, Progress, terminal_columns};

/// Columns of the closing report where it isn't read on a terminal.
const FILE_COLUMNS: usize = 100;

/// By whom pictures are drawn, and who tells how far it is.
type Tools<'t> = (&'t rayon::ThreadPool, &'t Progress);

/// What is written, and where.
pub(super) struct Writing<'a> {
    pub folder: &'a Folder,
    pub dataset: &'a Dataset,
    pub truth: Option<&'a Truth>,
    /// Files that will hold what is recorded beside the results.
    pub records: &'a [PathBuf],
    /// What to see of the data, and what was seen; empty where they couldn't be looked at.
    pub view: View,
    pub seen: Vec<Overview>,
    /// Files in their places so far.
    pub written: Vec<PathBuf>,
}

impl Writing<'_> {
    /// Says in the report what the residuals show.
    pub fn judge(&self, report: &mut Report) {
        let parameters = report.space.n_free() + report.fit.projected.n_free_scaling();
        report.smooth = SmoothPart::new(smoothness(&self.seen), parameters);
        report.seen = diagnosis::seen(report, &self.seen, &self.dataset.left_out);
    }

    /// Writes the results of the fit. Those of an earlier run are kept under `previous/`, or are replaced where they are this
    /// run's own (`is_own`), from before it was stopped.
    ///
    /// # Errors
    /// [`crate::Error::Io`] naming what can't be written; earlier results are as they were then.
    pub fn fit(
        &mut self,
        report: &mut Report,
        (pool, progress): Tools,
        phases: &mut Phases,
        is_own: bool,
    ) -> Result<()> {
        progress.doing("writing results");
        let mut stage = self.folder.stage()?;
        let done = phases.time("writing", || {
            self.written = pool.install(|| write(report, self.dataset, &stage))?;
            self.write_report(report, &stage)?;
            if is_own { Ok(()) } else { stage.keep_older() }
        });
        done.map_err(|error| stage.explained(error))?;
        self.draw(report, &stage, (pool, progress), phases);
        self.placed(&stage);
        if is_own { stage.add() } else { stage.put(report.config.output.keep_previous) }
    }

    /// Writes draws from the posterior, and the results of the fit again, which now speak of them.
    ///
    /// # Errors
    /// [`crate::Error::Io`] naming what can't be written; the results of the fit are as they were then.
    pub fn draws(
        &mut self,
        report: &mut Report,
        draws: &[&[Draw]],
        (pool, progress): Tools,
        phases: &mut Phases,
    ) -> Result<()> {
        progress.doing("writing results");
        let stage = self.folder.stage()?;
        let done = phases.time("writing", || {
            numbers(report, &stage)?;
            self.written.extend(write_draws(report, draws, &stage)?);
            self.write_report(report, &stage)
        });
        done.map_err(|error| stage.explained(error))?;
        phases.time("drawing", || pool.install(|| page(report, &self.view, &self.seen, &stage)));
        self.placed(&stage);
        self.refresh_report(report, &stage, phases);
        stage.add()
    }

    /// Draws the page and the pictures, after which the report names them.
    fn draw(&mut self, report: &mut Report, stage: &Stage, (pool, progress): Tools, phases: &mut Phases) {
        report.phases = phases.all();
        progress.doing("drawing the report and pictures");
        let drawn = phases.time("drawing", || {
            pool.install(|| {
                let mut drawn = page(report, &self.view, &self.seen, stage);
                drawn.extend(pictures(report, &self.seen, stage));
                drawn
            })
        });
        self.written.extend(drawn);
        self.refresh_report(report, stage, phases);
    }

    /// Writes the closing report again; where that fails the one before is complete but for what was drawn.
    fn refresh_report(&mut self, report: &mut Report, stage: &Stage, phases: &Phases) {
        (report.phases, report.seconds) = (phases.all(), phases.total().as_secs_f64());
        if let Err(error) = self.write_report(report, stage) {
            log::warn!("{}; what was written before stays", stage.explained(error));
        }
    }

    fn write_report(&self, report: &Report, stage: &Stage) -> Result<()> {
        let placed = |path: &PathBuf| stage.placed(path);
        let files: Vec<PathBuf> = self.files().iter().map(placed).collect();
        let text = closing_report(report, &files, self.truth, FILE_COLUMNS);
        stage.write_text(Stage::REPORT, &text).map(drop)
    }

    /// Everything that is written.
    fn files(&self) -> Vec<PathBuf> {
        let report = self.folder.results().join(Stage::REPORT);
        self.written.iter().chain(self.records).cloned().chain([report]).collect()
    }

    /// What was made ready is spoken of by where it is in the end.
    fn placed(&mut self, stage: &Stage) {
        self.written.iter_mut().for_each(|path| *path = stage.placed(path));
    }

    /// Prints the closing report.
    pub fn print(&self, report: &Report, out: &mut impl Write) {
        let text = closing_report(report, &self.files(), self.truth, terminal_columns().unwrap_or(FILE_COLUMNS));
        // a closed pipe is the reader's choice, not a failure of the run
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}
