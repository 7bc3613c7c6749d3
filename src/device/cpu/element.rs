//! Number types: how an element is stored, and in which arithmetic it is computed.

use bytemuck::Pod;
use half::bf16;
use pulp::Simd;

/// Arithmetic: f32 or f64, with the vectors of a SIMD instruction set.
pub trait Real:
    Element<Acc = Self>
    + PartialOrd
    + std::ops::Add<Output = Self>
    + std::ops::Sub<Output = Self>
    + std::ops::Mul<Output = Self>
    + std::ops::Div<Output = Self>
    + std::ops::Neg<Output = Self>
    + std::ops::AddAssign
    + std::iter::Sum
{
    /// As many numbers as fill a register.
    type Vector<S: Simd>: Pod + Send + Sync;

    /// From a constant or a tensor that crosses the device's border.
    fn from_f64(x: f64) -> Self;
    /// Exact.
    fn to_f64(self) -> f64;
    /// The same number in every lane.
    fn splat<S: Simd>(simd: S, x: Self) -> Self::Vector<S>;
    /// `a * b + c`, fused where the instruction set has it.
    fn mul_add<S: Simd>(
        simd: S,
        a: Self::Vector<S>,
        b: Self::Vector<S>,
        c: Self::Vector<S>,
    ) -> Self::Vector<S>;
    /// `a + b`.
    fn plus<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// `a - b`.
    fn minus<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// Exponential.
    fn exp(self) -> Self;
    /// Natural logarithm.
    fn ln(self) -> Self;

    /// Lanes of a vector.
    fn lanes<S: Simd>() -> usize {
        size_of::<Self::Vector<S>>() / size_of::<Self>()
    }
}

/// Storage: f32, f64, or bf16 that is computed in f32.
pub trait Element: Pod + Send + Sync + Default + PartialEq {
    /// The arithmetic.
    type Acc: Real;
    /// Whether convolutions may reorder their sums by Winograd's transform; references do not.
    const WINOGRAD: bool;
    /// Widens; exact.
    fn load(self) -> Self::Acc;
    /// Rounds to nearest, ties to even.
    fn store(x: Self::Acc) -> Self;
}

macro_rules! real {
    ($t:ident, $vector:ident, $splat:ident, $mul_add:ident, $add:ident, $sub:ident, $winograd:literal) => {
        impl Real for $t {
            type Vector<S: Simd> = S::$vector;
            fn from_f64(x: f64) -> Self {
                x as $t
            }
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
            #[inline(always)]
            fn splat<S: Simd>(simd: S, x: Self) -> S::$vector {
                simd.$splat(x)
            }
            #[inline(always)]
            fn mul_add<S: Simd>(simd: S, a: S::$vector, b: S::$vector, c: S::$vector) -> S::$vector {
                simd.$mul_add(a, b, c)
            }
            #[inline(always)]
            fn plus<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$add(a, b)
            }
            #[inline(always)]
            fn minus<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$sub(a, b)
            }
            fn exp(self) -> Self {
                self.exp()
            }
            fn ln(self) -> Self {
                self.ln()
            }
        }

        impl Element for $t {
            type Acc = $t;
            const WINOGRAD: bool = $winograd;
            #[inline(always)]
            fn load(self) -> $t {
                self
            }
            #[inline(always)]
            fn store(x: $t) -> $t {
                x
            }
        }
    };
}

real!(f32, f32s, splat_f32s, mul_add_e_f32s, add_f32s, sub_f32s, true);
real!(f64, f64s, splat_f64s, mul_add_e_f64s, add_f64s, sub_f64s, false);

impl Element for bf16 {
    type Acc = f32;
    const WINOGRAD: bool = false;
    #[inline(always)]
    fn load(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
    #[inline(always)]
    fn store(x: f32) -> bf16 {
        bf16::from_f32(x)
    }
}
