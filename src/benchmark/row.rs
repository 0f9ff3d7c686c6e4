//! Results: timings and rows.

use serde_json::{Map, Value, json};

/// Times of repetitions of the same thing, s.
#[derive(Debug, Clone, PartialEq)]
pub struct Timings(Vec<f64>);

impl Timings {
    /// From all of them.
    ///
    /// # Panics
    /// When there are none.
    pub fn new(mut seconds: Vec<f64>) -> Self {
        assert!(!seconds.is_empty(), "a figure without a measurement");
        seconds.sort_by(f64::total_cmp);
        Self(seconds)
    }

    /// The shortest.
    pub fn best(&self) -> f64 {
        self.0[0]
    }

    /// The one in the middle.
    pub fn median(&self) -> f64 {
        self.0[self.0.len() / 2]
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

/// One figure.
#[derive(Debug, Clone)]
pub struct Row {
    /// What was measured: `compress`, `pass`, `slopes`, `chi2`, `look`, `read`, `reduce`, `fit` or `draws`.
    pub name: &'static str,
    /// Model of the data.
    pub model: &'static str,
    /// Precision of the pairs; `None` where nothing is computed with them.
    pub precision: Option<&'static str>,
    /// Instruction set, likewise.
    pub isa: Option<&'static str>,
    /// Threads at work.
    pub threads: usize,
    /// Pairs that one repetition deals with.
    pub pairs: f64,
    /// Time of the repetitions.
    pub seconds: Timings,
    /// What else there is to say, by name.
    pub more: Map<String, Value>,
}

impl Row {
    /// Pairs per second of the best repetition.
    pub fn rate(&self) -> f64 {
        self.pairs / self.seconds.best()
    }

    /// Pairs per second of the repetition in the middle.
    pub fn median_rate(&self) -> f64 {
        self.pairs / self.seconds.median()
    }

    /// A number of `more`; NaN where there is none of that name.
    pub fn number(&self, name: &str) -> f64 {
        self.more.get(name).and_then(Value::as_f64).unwrap_or(f64::NAN)
    }

    /// For machines.
    pub fn json(&self) -> Value {
        let mut row = json!({
            "name": self.name,
            "model": self.model,
            "precision": self.precision,
            "isa": self.isa,
            "threads": self.threads,
            "pairs_per_second": self.rate(),
            "pairs_per_second_median": self.median_rate(),
            "pairs": self.pairs,
            "seconds": self.seconds.best(),
            "seconds_median": self.seconds.median(),
            "repetitions": self.seconds.count(),
        });
        if let Value::Object(fields) = &mut row {
            fields.extend(self.more.clone());
        }
        row
    }
}

/// Fields for [`Row::more`].
pub(super) fn fields<const N: usize>(pairs: [(&str, Value); N]) -> Map<String, Value> {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_and_the_middle_are_told() {
        let seconds = Timings::new(vec![3.0, 1.0, 2.0]);
        assert_eq!((seconds.best(), seconds.median(), seconds.count()), (1.0, 2.0, 3));
        let row = Row {
            name: "pass",
            model: "static",
            precision: Some("f64"),
            isa: None,
            threads: 2,
            pairs: 6.0,
            seconds,
            more: fields([("extra", json!(1.5))]),
        };
        assert_eq!((row.rate(), row.median_rate(), row.number("extra")), (6.0, 3.0, 1.5));
        let json = row.json();
        assert_eq!((&json["pairs_per_second"], &json["isa"], &json["extra"]), (&json!(6.0), &Value::Null, &json!(1.5)));
        assert!(row.number("nothing").is_nan());
    }
}
