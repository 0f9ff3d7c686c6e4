//! Running integrals whose differences stay exact where the sums are large.

/// Running sum over frames, kept as an unevaluated pair hi + lo (about 106 bits).
///
/// A steep power law puts nearly all of the integral into a few frames; the difference between two late frames is then
/// many orders smaller than either sum, and a plain f64 sum would lose it.
#[derive(Debug, Clone, Default)]
pub struct Cumulative {
    hi: Vec<f64>,
    lo: Vec<f64>,
}

/// a + b as (rounded sum, exact error) (Knuth's two-sum).
#[inline]
pub(crate) fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let s = a + b;
    let bb = s - a;
    (s, (a - (s - bb)) + (b - bb))
}

impl Cumulative {
    /// Trapezoid rule in units of one frame: c_0 = 0, c_i = c_{i−1} + (f_{i−1} + f_i)/2.
    pub fn trapezoid(f: &[f64]) -> Self {
        let mut hi = Vec::with_capacity(f.len());
        let mut lo = Vec::with_capacity(f.len());
        let (mut h, mut l) = (0.0, 0.0);
        for (i, &value) in f.iter().enumerate() {
            if i > 0 {
                let (s, e) = two_sum(h, 0.5 * (f[i - 1] + value));
                let (s, e) = two_sum(s, l + e);
                (h, l) = (s, e);
            }
            hi.push(h);
            lo.push(l);
        }
        Self { hi, lo }
    }

    /// Number of frames.
    pub fn len(&self) -> usize {
        self.hi.len()
    }

    /// Whether there are no frames.
    pub fn is_empty(&self) -> bool {
        self.hi.is_empty()
    }

    /// c_i as (hi, lo).
    pub fn parts(&self, i: usize) -> (f64, f64) {
        (self.hi[i], self.lo[i])
    }

    /// c_j − c_i, rounded once.
    #[inline]
    pub fn difference(&self, i: usize, j: usize) -> f64 {
        let (s, e) = two_sum(self.hi[j], -self.hi[i]);
        s + (e + (self.lo[j] - self.lo[i]))
    }

    /// c_j − c_i as (rounded, remainder), for phases that are multiplied by large factors.
    #[inline]
    pub fn difference_pair(&self, i: usize, j: usize) -> (f64, f64) {
        let (s, e) = two_sum(self.hi[j], -self.hi[i]);
        two_sum(s, e + (self.lo[j] - self.lo[i]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_differences_survive_a_huge_start() {
        let mut f = vec![1e-4; 1000];
        f[0] = 1e16;
        let c = Cumulative::trapezoid(&f);
        let d = c.difference(998, 999);
        assert!((d / 1e-4 - 1.0).abs() < 1e-12, "{d}");
    }

    #[test]
    fn trapezoid_of_a_line_is_its_integral() {
        let f: Vec<f64> = (0..50).map(|i| 2.0 * f64::from(i)).collect();
        let c = Cumulative::trapezoid(&f);
        assert_eq!(c.difference(0, 49), 49.0 * 49.0);
        assert_eq!(c.difference(7, 7), 0.0);
    }
}
