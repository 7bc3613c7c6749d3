//! Of batch norm: statistics, reductions, and the two-stream update.

use super::{Fault, test_fault};

pub fn faults() -> Vec<Fault> {
    [statistics(), batch_norm(), two_stream()].into_iter().flatten().collect()
}

fn statistics() -> Vec<Fault> {
    const FILE: &str = "batch_stats.cu";
    // Of two parts, the second a short one.
    const PARTS: &[&str] = &["batch_stats/3x7x5x33/f32"];
    vec![
        Fault::rows("parts are combined without the difference of their means", FILE, PARTS)
            .find("squares_of(part) + count_of(part) * delta * delta")
            .put("squares_of(part)"),
        Fault::rows("every part counts the same", FILE, PARTS)
            .find("double(min(p.rows_per_partial, p.rows - part * p.rows_per_partial))")
            .put("double(p.rows_per_partial)"),
        Fault::rows("the variance is unbiased", FILE, PARTS)
            .find("sums[0] * offset) / p.rows)")
            .put("sums[0] * offset) / (p.rows - 1))"),
        Fault::rows("the last part is forgotten", FILE, PARTS)
            .find("c < p.channels && part < parts; part")
            .put("c < p.channels && part + 1 < parts; part"),
        Fault::rows("the mean is the first part's", FILE, PARTS)
            .find("float(pivot + offset)")
            .put("float(pivot)"),
        Fault::rows("squares about the first part's mean", FILE, PARTS)
            .find("sums[1] - sums[0] * offset")
            .put("sums[1]"),
        Fault::rows("no barrier before the sums become means", FILE, &["batch_stats/1x7x5x10/f32"])
            .find("    __syncthreads();  // for whoever still reads the sums\n")
            .put(""),
        Fault::rows("the variance as a difference of squares", FILE, &["batch_stats/1x7x5x10-mean64/f32"])
            .find(
                "            const float deviation = values.at[k] - mean.at[k];
            squares.at[k] += deviation * deviation;",
            )
            .put("            squares.at[k] += values.at[k] * values.at[k] - mean.at[k] * mean.at[k];"),
        Fault::rows("a vector past the last one", "reduce.cuh", &["batch_stats/3x1x2x131/f32"])
            .find("lane < lanes && vector + column < vectors")
            .put("lane < lanes && vector + column <= vectors")
            .of(&["batch_stats"]),
        test_fault!("lanes are added by atomics", "reduce.cuh", fed::no_order_of_threads_changes_a_step)
            .find(
                "        float sum = values[0];
        for (uint32_t lane = 1; lane < tile.lanes; ++lane) {
            sum += values[lane * tile.columns];
        }
        shared.totals[c] = sum;
    }",
            )
            .put(
                "        shared.totals[c] = values[0];
    }
    __syncthreads();
    for (uint32_t k = 0; k < WIDTH && tile.exists && threadIdx.x >= tile.columns; ++k) {
        atomicAdd(&shared.totals[tile.column * WIDTH + k], sums.at[k]);
    }",
            )
            .of(&["two_stream"]),
        Fault::rows("a reduction adds without a barrier", "reduce.cuh", &["batch_norm_reduce/1x7x5x10/f32"])
            .find("= sums.at[k];\n    }\n    __syncthreads();")
            .put("= sums.at[k];\n    }")
            .of(&["batch_norm"]),
        Fault::rows("a reduction loses its last lane", "reduce.cuh", &["batch_norm_reduce/1x7x5x10/f32"])
            .find("lane < tile.lanes; ++lane")
            .put("lane < tile.lanes - 1; ++lane")
            .of(&["batch_norm"]),
        Fault::rows("a chunk reaches into the next", "reduce.cuh", &["batch_norm_reduce/3x7x5x33/f32"])
            .find("const uint64_t end = begin + chunk_rows;")
            .put("const uint64_t end = begin + chunk_rows + 1;")
            .of(&["batch_norm"]),
        Fault::rows("parts are added without a barrier", "reduce.cuh", &["batch_norm_reduce/3x7x5x33/f32"])
            .find("half /= 2) {\n        __syncthreads();")
            .put("half /= 2) {")
            .of(&["batch_norm"]),
        Fault::rows("half of the parts is forgotten", "reduce.cuh", &["batch_norm_reduce/3x7x5x33/f32"])
            .find("half >= FINALISE_COLUMNS; half")
            .put("half > FINALISE_COLUMNS; half")
            .of(&["batch_norm"]),
    ]
}

fn batch_norm() -> Vec<Fault> {
    const FILE: &str = "batch_norm.cu";
    const PASS: &str = "normalise.cuh";
    const FORWARD: &[&str] = &["batch_norm/1x7x5x10/f32"];
    const BACKWARD: &[&str] = &["batch_norm_backward/1x7x5x10/f32"];
    vec![
        Fault::rows("epsilon is forgotten", PASS, FORWARD)
            .find("sqrtf(x.at[k] + epsilon)")
            .put("sqrtf(x.at[k])")
            .of(&["batch_norm"]),
        Fault::rows("epsilon is forgotten in the second pass", FILE, &["batch_norm_reduce/1x7x5x10/f32"])
            .find("sqrt(double(variance) + epsilon)")
            .put("sqrt(double(variance))"),
        Fault::rows("the mean is ignored", PASS, FORWARD)
            .find("a.at[k] * (z.at[k] - mean.at[k]) + shift.at[k]")
            .put("a.at[k] * z.at[k] + shift.at[k]")
            .of(&["batch_norm"]),
        test_fault!("the mean is folded into the shift", PASS, passes::a_large_mean_cancels_nothing)
            .find("a.at[k] * (z.at[k] - mean.at[k]) + shift.at[k]")
            .put("a.at[k] * z.at[k] + (shift.at[k] - a.at[k] * mean.at[k])")
            .of(&["batch_norm", "two_stream"]),
        Fault::rows("the variance of the wrong channel", PASS, &["batch_norm/2x8x8x96/f32"])
            .find("stats + channels + channel)")
            .put("stats + channels)")
            .of(&["batch_norm"]),
        Fault::rows("the folded mean is not scaled", FILE, &["fold_batch_norm/1x7x5x10/f32"])
            .find("p.shift[c] - p.mean[c] * a;")
            .put("p.shift[c] - p.mean[c];"),
        Fault::rows("dz without the mean's term", PASS, BACKWARD)
            .find("(z.at[k] - mean.at[k]) * slope")
            .put("z.at[k] * slope")
            .of(&["batch_norm"]),
        Fault::rows("dz without the mean of g", PASS, BACKWARD)
            .find("g.at[k] - mean_g.at[k];")
            .put("g.at[k];")
            .of(&["batch_norm"]),
        Fault::rows("a slope that is not divided by the deviation", PASS, BACKWARD)
            .find("*= share * inverse.at[k]")
            .put("*= share")
            .of(&["batch_norm"]),
        Fault::rows("a part of a reduction is forgotten", FILE, &["batch_norm_reduce/3x7x5x33/f32"])
            .find("part < p.parts; part")
            .put("part + 1 < p.parts; part"),
        Fault::rows("dscale without the mean", FILE, &["batch_norm_reduce/1x7x5x10/f32"])
            .find("(z.at[k] - mean.at[k]);")
            .put("z.at[k];"),
        test_fault!(
            "rows in steps one too long",
            "pass_index.cuh",
            passes::any_share_of_the_rows_in_any_order_gives_the_same_bits
        )
        .find("step = threads / vectors;")
        .put("step = threads / vectors + 1;")
        .of(&["batch_norm", "two_stream"]),
        Fault::rows("descending, a row past the last", "pass_index.cuh", &["batch_norm/2x8x8x96/f32"])
            .find("rows - 1 - row")
            .put("rows - row")
            .of(&["batch_norm"]),
        Fault::rows("the last two of eight are swapped", "vector.cuh", &["batch_norm/2x8x8x96/f32"])
            .find("to[6] = high.z, to[7] = high.w")
            .put("to[6] = high.w, to[7] = high.z")
            .of(&["batch_norm"]),
        Fault::rows("the halves of a word are swapped", "vector.cuh", &["batch_norm/2x8x8x96/bf16"])
            .find("__uint_as_float(pair << 16)")
            .put("__uint_as_float(pair & 0xffff0000u)")
            .of(&["batch_norm"]),
    ]
}

fn two_stream() -> Vec<Fault> {
    const FILE: &str = "two_stream.cu";
    vec![
        Fault::rows("a mask bit is not cleared", FILE, &["two_stream_update/n1h7w5c10/f32"])
            .find("uint32_t bits = 0;\n        for (uint32_t bit ")
            .put("uint32_t bits = p.mask[byte];\n        for (uint32_t bit "),
        Fault::rows("a byte of the mask past the last one", FILE, &["two_stream_update/n1h1w1c3/f32"])
            .find("byte < bytes; byte")
            .put("byte <= bytes; byte"),
        Fault::rows("a mask bit of the wrong channel", FILE, &["two_stream_update/n2h8w8c96/f32"])
            .find("bits |= uint32_t(y.at[k] > 0.0f) << k;")
            .put("bits |= uint32_t(y.at[k] > 0.0f) << (k ^ 1);"),
        Fault::rows("a byte of the mask of the wrong channels", FILE, &["two_stream_update/n2h8w8c96/f32"])
            .find("p.mask[i / EIGHT] =")
            .put("p.mask[pass.row * p.channels / EIGHT] ="),
        Fault::rows(
            "the gradient's mask bit of the wrong channel",
            "vector.cuh",
            &["two_stream_backward/n2h8w8c96/f32"],
        )
        .find("bits >> k & 1 ? dy.at[k]")
        .put("bits >> (k ^ 1) & 1 ? dy.at[k]")
        .of(&["two_stream"]),
        Fault::rows(
            "whole eights of a shortcut whose offsets are none",
            FILE,
            &["two_stream_update/n2h8w8c96-offsets/f32"],
        )
        .find("(outer.copied | outer.from | outer.to | outer.channels) % EIGHT != 0")
        .put("outer.copied % EIGHT != 0"),
        Fault::rows(
            "eights of a shortcut from and to swapped",
            FILE,
            &["two_stream_update/n2h8w8c96-offsets8/f32"],
        )
        .find(", channel - outer.to + outer.from}")
        .put(", channel - outer.to}"),
        Fault::rows(
            "the mask without the outer shortcut",
            FILE,
            &["two_stream_update/n1h7w5c10-identity/f32"],
        )
        .find("uint32_t(load(stored) > 0.0f) << bit")
        .put("uint32_t(normalised > 0.0f) << bit"),
        Fault::rows("a mask bit where y is 0", FILE, &["two_stream_update/n1h7w5c10/f32"])
            .find("uint32_t(load(stored) > 0.0f) << bit")
            .put("uint32_t(load(stored) >= 0.0f) << bit"),
        Fault::rows(
            "a projection with the main branch's constants",
            FILE,
            &["two_stream_update/n1h7w5c10-projection/f32"],
        )
        .find("affine_of<1>(p.outer.norm,")
        .put("affine_of<1>(p.norm,"),
        Fault::rows(
            "the outer shortcut's from and to are swapped",
            FILE,
            &["two_stream_update/n1h7w5c10-offsets/f32"],
        )
        .find("at.channel - outer.to + outer.from}")
        .put("at.channel - outer.from + outer.to}"),
        Fault::rows(
            "the place of the next element wraps one column late",
            "layout.cuh",
            &["two_stream_update/n1h7w5c10-halved/f32"],
        )
        .find("if (++at.column < width) return;")
        .put("if (++at.column <= width) return;")
        .of(&["two_stream"]),
        Fault::rows(
            "the outer shortcut ignores its stride",
            FILE,
            &["two_stream_update/n1h7w5c10-halved/f32"],
        )
        .find("at.row * outer.stride, at.column * outer.stride, at.channel")
        .put("at.row, at.column, at.channel"),
        Fault::rows(
            "a projection's reductions with the main branch's statistics",
            FILE,
            &["two_stream_reduce/n1h7w5c10-projection/f32"],
        )
        .find("load_vector<WIDTH>(p.stats[b] +")
        .put("load_vector<WIDTH>(p.stats[0] +"),
        Fault::rows("a reduction ignores the mask", FILE, &["two_stream_reduce/n1h7w5c10/f32"])
            .find("sums[0].at[k] += g.at[k];")
            .put("sums[0].at[k] += dy.at[k];"),
        Fault::rows(
            "both branches' dz with one branch's constants",
            FILE,
            &["two_stream_backward/n1h7w5c10-projection/f32"],
        )
        .find("gradient_of<WIDTH>(p.branches[b].norm,")
        .put("gradient_of<WIDTH>(p.branches[0].norm,"),
    ]
}
