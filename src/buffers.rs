//! Large buffers, whose size follows from a file's numbers: where there is no memory for one, that is an error with a remedy
//! instead of the end of the process.

use crate::{Error, Result};

/// Bytes in the GB of messages.
const GB: f64 = (1u64 << 30) as f64;

/// Whether there is memory for so many bytes more.
pub fn fits(bytes: usize) -> bool {
    let mut probe = Vec::<u8>::new();
    let fits = probe.try_reserve_exact(bytes).is_ok();
    // what nobody looks at would be optimised away
    std::hint::black_box(&mut probe);
    fits
}

/// So many zeros, which take no memory until they are written; `what` says what they are for.
///
/// # Errors
/// [`Error::Memory`] where there is none.
pub fn zeros(n: usize, what: impl FnOnce() -> String) -> Result<Vec<f32>> {
    check(n.saturating_mul(size_of::<f32>()), what)?;
    Ok(vec![0.0; n])
}

/// Refuses what there is no memory for.
///
/// # Errors
/// [`Error::Memory`].
pub fn check(bytes: usize, what: impl FnOnce() -> String) -> Result<()> {
    if fits(bytes) {
        return Ok(());
    }
    Err(Error::Memory(format!(
        "there is no room in memory for {}, {:.2} GB; select fewer frames, or raise the limit of the shell (`ulimit -v`) or job",
        what(),
        bytes as f64 / GB
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_machine_has_is_an_error_that_names_it() {
        let error = zeros(usize::MAX / 8, || "a matrix".into()).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().starts_with("there is no room in memory for a matrix, "), "{error}");
        assert_eq!(zeros(3, String::new).unwrap(), [0.0; 3]);
    }
}
