//! What the machine at hand copies and computes, where nothing else limits it: the roof that cases are held to.

use std::hint::black_box;
use std::time::Instant;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;
use serde::Serialize;

use crate::device::Pace;
use crate::device::cuda::driver::Driver;
use crate::device::cuda::launch::View;
use crate::device::cuda::launch::rates::{Arithmetic, copy};
use crate::device::cuda::timing::{clock, time};
use crate::error::{Error, Result};
use crate::random::mixed;

/// Measured rates. Copies count what is read and what is written.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rates {
    /// A copy by a kernel of ours, or by this machine's threads.
    pub copy_gb_s: f64,
    /// The same by the card's driver.
    pub driver_copy_gb_s: Option<f64>,
    /// bf16 products with f32 sums in tensor cores, by the instruction of a warp (`mma.sync`); `None` without any.
    pub matrix_tflop_s: Option<f64>,
    /// Multiply-adds in f32.
    pub multiply_add_tflop_s: f64,
}

/// Figures of each rate.
const FIGURES: usize = 7;

/// Bytes of a copy on a card, many times its cache, where there is room.
const MOST_COPIED: usize = 1 << 30;

/// What one run of a loop takes at least, in seconds.
const LEAST_LOOP: f64 = 2e-3;

/// Rounds of a loop at most: of 2,048 threads a multiprocessor, a tenth of a second.
const MOST_ROUNDS: u32 = 1 << 16;

/// The least of some figures, in seconds: a roof is what the machine did once.
fn least(seconds: &[f64]) -> Result<f64> {
    let least = seconds.iter().copied().min_by(f64::total_cmp).filter(|seconds| *seconds > 0.0);
    least.ok_or_else(|| Error::device("the card's clock stands still"))
}

/// The rates of a card; `matrices`: with tensor cores, too.
///
/// # Errors
/// If the card failed, has no clock, or its copies are not copies.
pub fn of_card(driver: &mut dyn Driver) -> Result<Rates> {
    let multiprocessors = driver.properties()?.sm_count.unwrap_or(1);
    let bytes = driver.free_bytes()?.map_or(MOST_COPIED, |free| (free / 4).min(MOST_COPIED)) & !0xff;
    let [from, to] =
        [driver.allocate(bytes)?, driver.allocate(bytes)?].map(|address| View { address, bytes });
    let copied = copies(driver, from, to, multiprocessors);
    driver.free(from.address);
    driver.free(to.address);
    let (copy_gb_s, driver_copy_gb_s) = copied?;
    let bytes = Arithmetic::bytes(multiprocessors);
    let sums = View { address: driver.allocate(bytes)?, bytes };
    let matrix = arithmetic(driver, Arithmetic::Matrix, sums, multiprocessors);
    let multiply_add = arithmetic(driver, Arithmetic::MultiplyAdd, sums, multiprocessors);
    driver.free(sums.address);
    Ok(Rates {
        copy_gb_s,
        driver_copy_gb_s: Some(driver_copy_gb_s),
        matrix_tflop_s: Some(matrix?),
        multiply_add_tflop_s: multiply_add?,
    })
}

/// GB/s by our kernel, and by the driver's own copy.
fn copies(driver: &mut dyn Driver, from: View, to: View, multiprocessors: u32) -> Result<(f64, f64)> {
    // Random numbers, repeated: memory that holds the same everywhere may be stored compressed.
    let period: Vec<u64> = (0..1 << 17_u64).map(mixed).collect();
    let pattern: &[u8] = bytemuck::cast_slice(&period);
    for start in (0..from.bytes).step_by(pattern.len()) {
        let part = &pattern[..pattern.len().min(from.bytes - start)];
        driver.upload(from.address.offset(start), part)?;
    }
    let pace = |samples| Pace { samples, runs: 1, cold: false };
    let launch = [copy(from, to, multiprocessors)];
    time(driver, &launch, false, pace(1))?;
    let ours = least(&time(driver, &launch, false, pace(FIGURES))?)?;
    let (checked, mut last) = (pattern.len().min(to.bytes), vec![0; pattern.len().min(to.bytes)]);
    driver.download(to.address.offset((to.bytes - checked) / pattern.len() * pattern.len()), &mut last)?;
    if last != pattern[..checked] {
        return Err(Error::device(format!("{}: a copy is not what was copied", driver.name())));
    }
    clock(driver)?.forget();
    let marks = (0..=FIGURES)
        .map(|_| {
            let clock = clock(driver)?;
            let mark = clock.mark()?;
            clock.copy(from.address, to.address, from.bytes)?;
            Ok(mark)
        })
        .collect::<Result<Vec<_>>>()?;
    let clock = clock(driver)?;
    let theirs: Vec<f64> =
        marks.windows(2).map(|pair| clock.between(pair[0], pair[1])).collect::<Result<_>>()?;
    let moved = 2.0 * from.bytes as f64 / 1e9;
    Ok((moved / ours, moved / least(&theirs)?))
}

/// TFLOP/s of a loop in registers.
fn arithmetic(
    driver: &mut dyn Driver,
    arithmetic: Arithmetic,
    sums: View,
    multiprocessors: u32,
) -> Result<f64> {
    let mut rounds = 16;
    loop {
        let (launch, flops) = arithmetic.launch(sums, multiprocessors, rounds);
        let launch = [launch];
        let pace = |samples| Pace { samples, runs: 1, cold: false };
        let first = least(&time(driver, &launch, false, pace(1))?)?;
        if first < LEAST_LOOP && rounds < MOST_ROUNDS {
            rounds *= 2;
            continue;
        }
        let seconds = least(&time(driver, &launch, false, pace(FIGURES))?)?;
        let mut first = [0_f32];
        driver.download(sums.address, bytemuck::cast_slice_mut(&mut first))?;
        if !first[0].is_finite() {
            return Err(Error::device(format!("{}: a sum of products is {}", driver.name(), first[0])));
        }
        return Ok(flops as f64 / seconds / 1e12);
    }
}

/// Numbers of a copy on the processor: 128 MiB, several times any cache of its.
const COPIED: usize = 1 << 25;

/// The rates of the processor, all its threads together.
pub fn of_processor() -> Rates {
    let from: Vec<f32> = (0..COPIED).map(|i| i as f32).collect();
    let mut to = vec![0_f32; COPIED];
    let chunk = COPIED / (8 * rayon::current_num_threads()).next_power_of_two();
    let copied = best(|| {
        to.par_chunks_mut(chunk).zip(from.par_chunks(chunk)).for_each(|(to, from)| to.copy_from_slice(from))
    });
    let threads = rayon::current_num_threads();
    let mut flops = 0;
    let computed = best(|| {
        let loops =
            (0..threads).into_par_iter().with_max_len(1).map(|seed| Arch::new().dispatch(Loop { seed }));
        flops = loops.sum();
    });
    Rates {
        copy_gb_s: 8.0 * COPIED as f64 / copied / 1e9,
        driver_copy_gb_s: None,
        matrix_tflop_s: None,
        multiply_add_tflop_s: flops as f64 / computed / 1e12,
    }
}

/// The least time of `run`, in seconds; the first is not counted.
fn best(mut run: impl FnMut()) -> f64 {
    run();
    let seconds = (0..FIGURES).map(|_| {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64()
    });
    seconds.fold(f64::INFINITY, f64::min)
}

/// Vector multiply-adds in registers; gives how many floating-point operations they were.
struct Loop {
    seed: usize,
}

impl WithSimd for Loop {
    type Output = u64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> u64 {
        // Twelve sums keep two units of four cycles busy, with room for the operands among sixteen registers.
        const SUMS: usize = 12;
        const ROUNDS: u64 = 1 << 20;
        let (factor, term) = (simd.splat_f32s(0.999), simd.splat_f32s(1.0 + self.seed as f32));
        let mut sums = [term; SUMS];
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = simd.mul_add_f32s(*sum, factor, term);
            }
        }
        black_box(sums);
        2 * ROUNDS * SUMS as u64 * S::F32_LANES as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_has_rates() {
        let rates = of_processor();
        assert!(rates.copy_gb_s > 0.1 && rates.multiply_add_tflop_s > 1e-3, "{rates:?}");
        assert_eq!(rates.gb_s(), rates.copy_gb_s);
    }
}
