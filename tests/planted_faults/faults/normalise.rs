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
            .find("float(squares / p.rows)")
            .put("float(squares / (p.rows - 1))"),
        Fault::rows("the last part is forgotten", FILE, PARTS)
            .find("min((lane + 1) * run, parts)")
            .put("min((lane + 1) * run, parts - 1)"),
        Fault::rows("no barrier before shared memory is used again", FILE, &["batch_stats/1x7x5x10/f32"])
            .find("    __syncthreads();  // for whoever still reads the last sum\n")
            .put(""),
        Fault::rows("no barrier before the lanes are added", FILE, &["batch_stats/1x7x5x10/f32"])
            .find("= value;\n    __syncthreads();")
            .put("= value;"),
        Fault::rows("the variance as a difference of squares", FILE, &["batch_stats/1x7x5x10-mean64/f32"])
            .find(
                "        const float deviation = load(z[row * p.channels]) - mean;
        squares += deviation * deviation;
    }
    squares = sum_of_lanes(shared, squares);",
            )
            .put(
                "        const float value = load(z[row * p.channels]);
        squares += value * value;
    }
    squares = sum_of_lanes(shared, squares) - mean * mean * float(range.end - (range.first - range.lane));",
            ),
        Fault::rows("a channel past the last one", FILE, &["batch_stats/1x7x5x10/f32"])
            .find("const bool exists = range.channel < p.channels;")
            .put("const bool exists = range.channel <= p.channels;"),
        test_fault!("lanes are added by atomics", "reduce.cuh", fed::no_order_of_threads_changes_a_step)
            .find(
                "    __syncthreads();
    if (lane == 0) {
        for (int s = 0; s < COUNT; ++s) {
            for (uint32_t other = 1; other < LANES; ++other) {
                sums[s] += shared.sums[s][other][column];
            }
        }
    }",
            )
            .put(
                "    __syncthreads();
    for (int s = 0; s < COUNT; ++s) {
        if (lane != 0) atomicAdd(&shared.sums[s][0][column], sums[s]);
    }
    __syncthreads();
    for (int s = 0; s < COUNT; ++s) {
        if (lane == 0) sums[s] = shared.sums[s][0][column];
    }",
            )
            .of(&["two_stream"]),
        Fault::rows("a reduction adds without a barrier", "reduce.cuh", &["batch_norm_reduce/1x7x5x10/f32"])
            .find("sums[s];\n    }\n    __syncthreads();")
            .put("sums[s];\n    }")
            .of(&["batch_norm"]),
        Fault::rows("a reduction loses its last lane", "reduce.cuh", &["batch_norm_reduce/1x7x5x10/f32"])
            .find("other < LANES; ++other")
            .put("other < LANES - 1; ++other")
            .of(&["batch_norm"]),
        Fault::rows("a chunk reaches into the next", "reduce.cuh", &["batch_norm_reduce/3x7x5x33/f32"])
            .find("const uint64_t end = begin + chunk_rows;")
            .put("const uint64_t end = begin + chunk_rows + 1;")
            .of(&["batch_norm"]),
    ]
}

fn batch_norm() -> Vec<Fault> {
    const FILE: &str = "batch_norm.cu";
    const BACKWARD: &[&str] = &["batch_norm_backward/1x7x5x10/f32"];
    vec![
        Fault::rows("epsilon is forgotten", FILE, &["batch_norm/1x7x5x10/f32"])
            .find("sqrt(double(variance) + epsilon)")
            .put("sqrt(double(variance))"),
        Fault::rows("the shift without the mean", FILE, &["batch_norm/1x7x5x10/f32"])
            .find("p.shift[c] - p.stats[c] * a;")
            .put("p.shift[c];"),
        Fault::rows("the folded mean is not scaled", FILE, &["fold_batch_norm/1x7x5x10/f32"])
            .find("p.shift[c] - p.mean[c] * a;")
            .put("p.shift[c] - p.mean[c];"),
        Fault::rows("dz without the mean's term", FILE, BACKWARD).find(" - b * double(p.stats[i])").put(""),
        Fault::rows("dz without the mean of g", FILE, BACKWARD)
            .find("-a * double(p.dshift[i]) / double(p.rows) - b")
            .put("-b"),
        Fault::rows("a chunk of a reduction is forgotten", FILE, &["batch_norm_reduce/3x7x5x33/f32"])
            .find("chunk < p.chunks; ++chunk")
            .put("chunk + 1 < p.chunks; ++chunk"),
        Fault::rows("dscale without the mean", FILE, &["batch_norm_reduce/1x7x5x10/f32"])
            .find("(p.z)[i]) - mean);")
            .put("(p.z)[i]));"),
    ]
}

fn two_stream() -> Vec<Fault> {
    const FILE: &str = "two_stream.cu";
    vec![
        Fault::rows("a mask bit is not cleared", FILE, &["two_stream_update/n1h7w5c10/f32"])
            .find("uint32_t bits = 0;")
            .put("uint32_t bits = p.mask[byte];"),
        Fault::rows("a byte of the mask past the last one", FILE, &["two_stream_update/n1h1w1c3/f32"])
            .find("byte < bytes; byte")
            .put("byte <= bytes; byte"),
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
        .find("outer.pair[at.channel] * load(x[i])")
        .put("p.pair[at.channel] * load(x[i])"),
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
        .find("at.row * outer.stride, at.column * outer.stride")
        .put("at.row, at.column"),
        Fault::rows(
            "a projection's reductions with the main branch's statistics",
            FILE,
            &["two_stream_reduce/n1h7w5c10-projection/f32"],
        )
        .find("p.stats[b][range.channel]")
        .put("p.stats[0][range.channel]"),
        Fault::rows("a reduction ignores the mask", FILE, &["two_stream_reduce/n1h7w5c10/f32"])
            .find(": 0.0f;\n            sums[0] += g;")
            .put(": load(static_cast<const T*>(p.dy)[i]);\n            sums[0] += g;"),
        Fault::rows(
            "both branches' dz with one branch's constants",
            FILE,
            &["two_stream_backward/n1h7w5c10-projection/f32"],
        )
        .find("p.constants[b] + i % p.channels")
        .put("p.constants[0] + i % p.channels"),
    ]
}
