//! What this process did when, for `--trace`: spans and counters on a clock that all ranks share, as events of the format that
//! Perfetto (ui.perfetto.dev) and chrome://tracing read.
//!
//! Off unless [`start`] was called: a span then costs the reading of one flag. At the bottom of the house, so that any room can use it.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::{Value, json};

/// Events that are kept; a trace of more can hardly be opened.
const MOST: usize = 1_000_000;

static ON: AtomicBool = AtomicBool::new(false);
static RECORD: LazyLock<Mutex<Record>> = LazyLock::new(|| Mutex::new(Record::new()));
static THREADS: AtomicU32 = AtomicU32::new(0);

thread_local! {
    static THREAD: Cell<Option<u32>> = const { Cell::new(None) };
}

struct Record {
    /// When the clock of this process began.
    epoch: Instant,
    /// How far it is ahead of rank 0's, µs.
    ahead: f64,
    events: Vec<Event>,
    /// Events beyond [`MOST`].
    dropped: u64,
    /// Names of threads that have recorded something.
    threads: BTreeMap<u32, String>,
}

struct Event {
    name: Cow<'static, str>,
    /// µs on the clock of this process.
    begin: f64,
    what: What,
    thread: u32,
}

enum What {
    Span { duration: f64, detail: Option<String> },
    Counter(f64),
}

impl Record {
    fn new() -> Self {
        Self { epoch: Instant::now(), ahead: 0.0, events: Vec::new(), dropped: 0, threads: BTreeMap::new() }
    }

    fn push(&mut self, event: Event) {
        if self.events.len() < MOST {
            self.events.push(event);
        } else {
            self.dropped += 1;
        }
    }
}

fn record() -> MutexGuard<'static, Record> {
    RECORD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begins to record.
pub fn start() {
    // the clock begins here, if it hasn't
    drop(record());
    ON.store(true, Ordering::Relaxed);
}

/// Whether anything is recorded.
pub fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// µs since the clock of this process began.
pub fn now() -> f64 {
    record().epoch.elapsed().as_secs_f64() * 1e6
}

/// Sets how far the clock of this process is ahead of rank 0's, µs.
pub fn set_ahead(micros: f64) {
    record().ahead = micros;
}

/// µs on rank 0's clock.
pub fn shared_now() -> f64 {
    now() - record().ahead
}

/// The number of this thread, and its name once.
fn thread() -> u32 {
    THREAD.with(|own| {
        own.get().unwrap_or_else(|| {
            let number = THREADS.fetch_add(1, Ordering::Relaxed);
            let index = rayon::current_thread_index().map(|k| format!("thread {k}"));
            let named = std::thread::current().name().map(str::to_string);
            record().threads.insert(number, named.or(index).unwrap_or_else(|| format!("thread {number}")));
            own.set(Some(number));
            number
        })
    })
}

/// Records what lies between its making and its end.
#[must_use = "a span ends when it is dropped"]
pub struct Span {
    name: &'static str,
    /// `None` where nothing is recorded.
    begin: Option<f64>,
    detail: Option<String>,
}

/// Begins a span.
pub fn span(name: &'static str) -> Span {
    Span { name, begin: is_on().then(now), detail: None }
}

impl Span {
    /// Says more about it; `detail` isn't asked where nothing is recorded.
    pub fn with(mut self, detail: impl FnOnce() -> String) -> Self {
        if self.begin.is_some() {
            self.detail = Some(detail());
        }
        self
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(begin) = self.begin {
            let what = What::Span { duration: now() - begin, detail: self.detail.take() };
            let thread = thread();
            record().push(Event { name: self.name.into(), begin, what, thread });
        }
    }
}

/// Records a number as it is now.
pub fn counter(name: impl Into<Cow<'static, str>>, value: f64) {
    if is_on() {
        let (begin, thread) = (now(), thread());
        record().push(Event { name: name.into(), begin, what: What::Counter(value), thread });
    }
}

/// All events of this process so far, one a line, as those of process `rank` on `host`; they are forgotten here.
pub fn take(rank: usize, host: &str) -> String {
    let mut record = record();
    let ahead = record.ahead;
    let label = format!("rank {rank} on {host}");
    let mut lines = vec![meta("process_name", rank, 0, &label)];
    lines.push(json!({ "ph": "M", "pid": rank, "name": "process_sort_index", "args": { "sort_index": rank } }));
    lines.extend(record.threads.iter().map(|(&thread, name)| meta("thread_name", rank, thread, name)));
    for event in std::mem::take(&mut record.events) {
        // thousandths of a µs are enough
        let micros = |x: f64| (x * 1e3).round() / 1e3;
        let mut line = json!({
            "pid": rank, "tid": event.thread, "name": event.name, "cat": "homodyne", "ts": micros(event.begin - ahead),
        });
        match event.what {
            What::Span { duration, detail } => {
                line["ph"] = "X".into();
                line["dur"] = micros(duration).into();
                if let Some(detail) = detail {
                    line["args"] = json!({ "detail": detail });
                }
            }
            What::Counter(value) => {
                line["ph"] = "C".into();
                line["args"] = json!({ "value": value });
            }
        }
        lines.push(line);
    }
    if record.dropped > 0 {
        lines.push(json!({
            "ph": "i", "s": "p", "pid": rank, "tid": 0, "ts": 0,
            "name": format!("{} more events weren't kept", record.dropped),
        }));
    }
    lines.iter().map(Value::to_string).collect::<Vec<_>>().join("\n")
}

fn meta(what: &str, rank: usize, thread: u32, name: &str) -> Value {
    json!({ "ph": "M", "pid": rank, "tid": thread, "name": what, "args": { "name": name } })
}

/// The file made of what all ranks gave.
pub fn file(ranks: &[String]) -> String {
    let events: Vec<&str> = ranks.iter().flat_map(|text| text.lines()).collect();
    format!("{{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n{}\n]}}\n", events.join(",\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_counters_become_events() {
        drop(span("before").with(|| panic!("nothing is recorded yet")));
        start();
        set_ahead(5.0);
        {
            let _outer = span("outer").with(|| "two \"parts\"".into());
            counter("memory", 17.0);
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        let text = file(&[take(3, "node1"), String::new()]);
        let all: Value = serde_json::from_str(&text).unwrap();
        let named = |name: &str| all["traceEvents"].as_array().unwrap().iter().find(|e| e["name"] == name).cloned();
        assert!(named("before").is_none());
        assert_eq!(named("process_name").unwrap()["args"]["name"], "rank 3 on node1");
        let outer = named("outer").unwrap();
        assert!(outer["dur"].as_f64().unwrap() >= 2000.0 && outer["pid"] == 3);
        assert_eq!(outer["args"]["detail"], "two \"parts\"");
        let memory = named("memory").unwrap();
        assert_eq!((memory["ph"].as_str(), memory["args"]["value"].as_f64()), (Some("C"), Some(17.0)));
        assert!(memory["ts"].as_f64() >= outer["ts"].as_f64());
        ON.store(false, Ordering::Relaxed);
    }
}
