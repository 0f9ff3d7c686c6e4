//! How fast a GPU can be at best: instructions of a pair, counted by hand (see docs/gpu.md), and instructions of a GPU.

use super::cuda::DeviceInfo;

/// Floating-point instructions of a kernel for a pair far from the diagonal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// Name of the kernel.
    pub kernel: &'static str,
    /// Pairs are taken in f32.
    pub single: bool,
    /// Additions, products and both in one.
    pub plain: u32,
    /// What the reciprocal takes beside them.
    pub reciprocal: u32,
}

const fn double(kernel: &'static str, plain: u32, reciprocal: u32) -> Count {
    Count { kernel, single: false, plain, reciprocal }
}

const fn single(kernel: &'static str, plain: u32, reciprocal: u32) -> Count {
    Count { kernel, single: true, plain, reciprocal }
}

/// Those of Gram and χ² passes.
pub const COUNTS: [Count; 9] = [
    double("gram_still", 31, 0),
    double("gram_square", 86, 8),
    double("gram_quartic", 88, 8),
    double("chi2_still", 9, 0),
    double("chi2_square", 18, 8),
    double("chi2_quartic", 19, 8),
    single("mixed_gram_still", 33, 0),
    single("mixed_gram_square", 88, 1),
    single("mixed_gram_quartic", 90, 1),
];

impl DeviceInfo {
    /// Instructions in f64, or in f32, that it begins in a second; `None` where this program doesn't know.
    pub fn instructions(&self, in_single: bool) -> Option<f64> {
        // results per clock of a multiprocessor: CUDA C++ Programming Guide, arithmetic instructions
        let (double, single) = match self.capability {
            (7, 5) => (2.0, 64.0),
            (7, _) | (8, 0) => (32.0, 64.0),
            (8, _) | (12, _) => (2.0, 128.0),
            (9, _) | (10, 0) => (64.0, 128.0),
            _ => return None,
        };
        let per_clock = if in_single { single } else { double };
        Some(per_clock * f64::from(self.multiprocessors) * self.clock)
    }

    /// Pairs per second that a kernel could do if it did nothing but their arithmetic.
    pub fn limit(&self, kernel: &str) -> Option<f64> {
        let count = COUNTS.iter().find(|count| count.kernel == kernel)?;
        Some(self.instructions(count.single)? / f64::from(count.plain + count.reciprocal))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_those_of_the_data_sheets() {
        // A100 and H100 SXM: 9.7 and 33.5 TFLOP/s in f64 without tensor cores, two a multiply-add
        let gpu = |capability, multiprocessors, clock| DeviceInfo {
            name: "GPU".into(),
            memory: 0,
            capability,
            driver: (12, 9),
            multiprocessors,
            clock,
        };
        let a100 = gpu((8, 0), 108, 1.41e9);
        let h100 = gpu((9, 0), 132, 1.98e9);
        assert!((2.0 * a100.instructions(false).unwrap() / 9.7e12 - 1.0).abs() < 0.01);
        assert!((2.0 * a100.instructions(true).unwrap() / 19.5e12 - 1.0).abs() < 0.01);
        assert!((2.0 * h100.instructions(false).unwrap() / 33.5e12 - 1.0).abs() < 0.01);
        assert!((a100.limit("gram_square").unwrap() / 52e9 - 1.0).abs() < 0.01);
        assert_eq!(a100.limit("complete_trees"), None);
        assert_eq!(gpu((6, 0), 1, 1e9).instructions(false), None);
    }
}
