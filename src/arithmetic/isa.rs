//! Which instruction set the passes run on, and how code gets there.

#[cfg(target_arch = "x86_64")]
use super::lanes::{Avx2, Avx512};
use super::lanes::{Isa, Portable};
use crate::{Error, Result};

/// Environment variable that forces an instruction set, for tests.
const VARIABLE: &str = "HOMODYNE_ISA";

/// An instruction set that this processor has.
#[derive(Clone, Copy)]
pub(crate) enum InstructionSet {
    /// AVX-512.
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    /// AVX2 with FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    /// Plain Rust.
    Portable(Portable),
}

/// Work that is written once and compiled for every instruction set. `run` must be `#[inline(always)]` and free of closures
/// around lanes: only what is inlined inherits the instruction set.
pub(crate) trait Kernel {
    /// What it gives.
    type Output;

    /// The work.
    fn run<I: Isa>(self, isa: I) -> Self::Output;
}

impl InstructionSet {
    /// Runs a kernel compiled for this set.
    pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(isa) => isa.enter(kernel),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(isa) => isa.enter(kernel),
            Self::Portable(isa) => isa.enter(kernel),
        }
    }

    /// All that this processor has, the fastest first.
    pub fn available() -> Vec<Self> {
        let mut out = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            out.extend(Avx512::detect().map(Self::Avx512));
            out.extend(Avx2::detect().map(Self::Avx2));
        }
        out.push(Self::Portable(Portable));
        out
    }

    /// The name, as in `HOMODYNE_ISA`.
    pub fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => "avx512",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => "avx2",
            Self::Portable(_) => "portable",
        }
    }

    /// The one named by `HOMODYNE_ISA`, else the fastest.
    ///
    /// # Errors
    /// [`Error::Usage`] when the variable names one that doesn't exist or that this processor hasn't got.
    pub fn select() -> Result<Self> {
        match std::env::var(VARIABLE) {
            Ok(wanted) => Self::named(&wanted, &format!("{VARIABLE}=")),
            Err(_) => Ok(Self::available()[0]),
        }
    }

    /// The one of that name; `asked` is what an error says before it.
    ///
    /// # Errors
    /// [`Error::Usage`] when it doesn't exist or this processor hasn't got it.
    pub fn named(wanted: &str, asked: &str) -> Result<Self> {
        let available = Self::available();
        let found = available.iter().find(|set| set.name() == wanted.to_lowercase());
        found.copied().ok_or_else(|| {
            let names: Vec<&str> = available.iter().map(|set| set.name()).collect();
            Error::Usage(format!("{asked}{wanted}: this processor has {}", names.join(", ")))
        })
    }
}

/// Names of the instruction sets that this processor has, the fastest first.
pub fn names() -> Vec<&'static str> {
    InstructionSet::available().into_iter().map(InstructionSet::name).collect()
}

/// Name of the instruction set that passes run on: the one named by `HOMODYNE_ISA`, else the fastest.
///
/// # Errors
/// [`Error::Usage`] naming those that are there, where that one isn't.
pub fn selected() -> Result<&'static str> {
    InstructionSet::select().map(InstructionSet::name)
}
