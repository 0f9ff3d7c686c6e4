//! Coordinates along the valley in which a power law plus offset is nearly degenerate.
//!
//! f(t) = f0·t^a + f_off hardly changes along a curve in (f0, a, f_off) when a ≈ 0. With a reference time t_ref inside the
//! window and l = ln(t/t_ref) the coordinates
//!
//! ```text
//! f_ref = f0·t_ref^a    A = f_off + f_ref (value at t_ref)    B = a·f_ref (slope in ln t)    κ = 1/f_ref (scale of the curvature)
//! f(t)  = A + f_ref·expm1(a·l)
//! ∂f/∂A = 1    ∂f/∂B = l·e^{al}    ∂f/∂κ = f_ref²·ψ(al),  ψ(z) = z·e^z − expm1(z)
//! ```
//!
//! are nearly orthogonal. A Gram matrix must be accumulated in these columns: transforming one from the natural
//! parameters afterwards loses the small directions to rounding.

/// One block (amplitude, exponent, offset): diffusion (D0, alpha, D_offset) or shear (gamma_dot_t0, beta, gamma_dot_t_offset).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Block {
    /// Amplitude f0.
    pub amplitude: f64,
    /// Exponent a.
    pub exponent: f64,
    /// Offset f_off.
    pub offset: f64,
}

/// ψ(z) = z·e^z − expm1(z) = Σ_{k≥2} (k−1)/k!·z^k, never negative.
pub fn psi(z: f64) -> f64 {
    if z.abs() < 0.02 {
        let tail = 1.0 / 30.0 + z * (1.0 / 144.0 + z * (1.0 / 840.0 + z * (1.0 / 5760.0)));
        z * z * (0.5 + z * (1.0 / 3.0 + z * (0.125 + z * tail)))
    } else {
        z * z.exp() - z.exp_m1()
    }
}

/// Natural parameters with every block (f0, a, f_off) replaced by its (A, B, κ); phi0 stays.
pub fn to_valley(physical: &[f64], t_ref: f64) -> Vec<f64> {
    let mut out = physical.to_vec();
    for block in out.chunks_exact_mut(3) {
        let valley = Block::from_slice(block).to_valley(t_ref);
        block.copy_from_slice(&valley);
    }
    out
}

impl Block {
    /// From natural parameters (f0, a, f_off).
    pub fn from_slice(p: &[f64]) -> Self {
        Self { amplitude: p[0], exponent: p[1], offset: p[2] }
    }

    /// Natural parameters (f0, a, f_off).
    pub fn to_array(self) -> [f64; 3] {
        [self.amplitude, self.exponent, self.offset]
    }

    /// f(t) = f0·t^a + f_off, without its floor.
    pub fn rate(self, t: f64) -> f64 {
        self.amplitude * t.powf(self.exponent) + self.offset
    }

    /// f_ref = f0·t_ref^a.
    pub fn at_reference(self, t_ref: f64) -> f64 {
        self.amplitude * t_ref.powf(self.exponent)
    }

    /// (A, B, κ).
    pub fn to_valley(self, t_ref: f64) -> [f64; 3] {
        let f_ref = self.at_reference(t_ref);
        [self.offset + f_ref, self.exponent * f_ref, 1.0 / f_ref]
    }

    /// ∂f/∂(A, B, κ) at time t.
    pub fn gradient(self, t: f64, t_ref: f64) -> [f64; 3] {
        let l = (t / t_ref).ln();
        let (z, f_ref) = (self.exponent * l, self.at_reference(t_ref));
        [1.0, l * z.exp(), f_ref * f_ref * psi(z)]
    }

    /// From (A, B, κ); κ must be positive.
    pub fn from_valley(v: [f64; 3], t_ref: f64) -> Self {
        let f_ref = 1.0 / v[2];
        let exponent = v[1] * v[2];
        Self { amplitude: f_ref * t_ref.powf(-exponent), exponent, offset: v[0] - f_ref }
    }

    /// ∂(f0, a, f_off)/∂(A, B, κ), row by natural parameter.
    pub fn jacobian(self, t_ref: f64) -> [[f64; 3]; 3] {
        let f_ref = self.at_reference(t_ref);
        let ln_ref = t_ref.ln();
        let f0 = self.amplitude;
        // a = B·κ, f_ref = 1/κ, f0 = f_ref·t_ref^{−a}, f_off = A − f_ref
        let da = [0.0, 1.0 / f_ref, self.exponent * f_ref];
        let dref = [0.0, 0.0, -f_ref * f_ref];
        let mut j = [[0.0; 3]; 3];
        for k in 0..3 {
            j[0][k] = f0 * (dref[k] / f_ref - ln_ref * da[k]);
            j[1][k] = da[k];
        }
        j[2] = [1.0, 0.0, f_ref * f_ref];
        j
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn psi_series_meets_formula() {
        for z in [0.02f64, -0.02] {
            let series = psi(z * (1.0 - 1e-12));
            let formula = z * z.exp() - z.exp_m1();
            assert!((series / formula - 1.0).abs() < 1e-10, "{series} {formula}");
        }
        assert_eq!(psi(0.0), 0.0);
    }

    #[test]
    fn valley_and_back() {
        for (f0, a, off) in [(1e4, -0.5, 100.0), (1e5, 2.0, -1e5), (100.0, -2.0, 1e5), (0.002, 1e-3, -0.001)] {
            let b = Block { amplitude: f0, exponent: a, offset: off };
            let c = Block::from_valley(b.to_valley(3.3), 3.3);
            let scale = b.at_reference(3.3).abs() + off.abs();
            assert!((c.amplitude / f0 - 1.0).abs() < 1e-13);
            assert!((c.exponent - a).abs() < 1e-13);
            assert!((c.offset - off).abs() < 1e-13 * scale);
        }
    }

    #[test]
    fn jacobian_is_the_finite_difference() {
        let b = Block { amplitude: 1.2e4, exponent: -0.7, offset: 300.0 };
        let v = b.to_valley(3.3);
        let j = b.jacobian(3.3);
        for k in 0..3 {
            let h = 1e-6 * v[k].abs();
            let (mut up, mut down) = (v, v);
            up[k] += h;
            down[k] -= h;
            let (up, down) = (Block::from_valley(up, 3.3).to_array(), Block::from_valley(down, 3.3).to_array());
            for row in 0..3 {
                let fd = (up[row] - down[row]) / (2.0 * h);
                let size = j[row].iter().zip(&v).map(|(d, x)| (d * x).abs()).fold(0.0, f64::max) / v[k].abs();
                assert!((fd - j[row][k]).abs() <= 1e-8 * size, "{row} {k}: {fd} {}", j[row][k]);
            }
        }
    }
}
