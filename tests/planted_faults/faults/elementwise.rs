//! Of what works on one element at a time, or on one row: ReLU, sums, shortcuts, the classifier.

use super::{Fault, test_fault};

pub fn faults() -> Vec<Fault> {
    [activations(), shortcuts(), classifier(), loss()].into_iter().flatten().collect()
}

fn activations() -> Vec<Fault> {
    const FILE: &str = "elementwise.cu";
    vec![
        test_fault!("ReLU swallows NaN", "layout.cuh", fed::no_exploded_loss_reaches_the_state)
            .find("return x <= 0.0f ? 0.0f : x;")
            .put("return x > 0.0f ? x : 0.0f;")
            .of(&["elementwise", "two_stream"]),
        Fault::rows("the mask bit of a neighbour", "layout.cuh", &["relu_backward/n1h7w5c10-masked/f32"])
            .find(">> (i % 8) & 1;")
            .put(">> (i % 8 ^ 1) & 1;")
            .of(&["elementwise"]),
        Fault::rows(
            "a kernel does not wait for the launch before",
            "ptx_launch.cuh",
            &["relu/n1h7w5c10/f32"],
        )
        .find("    wait_for_launch_before();\n}")
        .put("}")
        .of(&["elementwise"]),
        Fault::rows("the last few elements are dropped", "vector.cuh", &["relu/n1h7w5c10/f32"])
            .find("uint64_t i = whole + grid_thread(); i < elements")
            .put("uint64_t i = whole + grid_thread(); i < whole")
            .of(&["elementwise"]),
        test_fault!("every cast of a launch is the first", FILE, passes::neighbouring_casts_share_a_launch)
            .find("p.casts[blockIdx.y]")
            .put("p.casts[0]"),
        Fault::rows(
            "a place's row in the wrong image",
            "layout.cuh",
            &["shortcut/n2h7w5c20k40s1-copy20from0to0/f32"],
        )
        .find("uint32_t(pixel / width % height)")
        .put("uint32_t(pixel / width)")
        .of(&["shortcut"]),
        Fault::rows("a gradient where ReLU gave 0", FILE, &["relu_backward/n1h7w5c10/f32"])
            .find("gate.at[k] > 0.0f")
            .put("gate.at[k] >= 0.0f"),
        Fault::rows("a sum without its last term", FILE, &["add/n1h7w5c10-3/f32"])
            .find("term < p.count; ++term")
            .put("term + 1 < p.count; ++term"),
        Fault::rows("an element past the last one", FILE, &["fill/n1h7w5c10/f32"])
            .find(
                "i < p.elements; i += grid_threads()) {
        static_cast<float*>(p.y)[i] = p.value;",
            )
            .put(
                "i <= p.elements; i += grid_threads()) {
        static_cast<float*>(p.y)[i] = p.value;",
            ),
        Fault::rows(
            "bf16 is cut off in place of rounded",
            "rir.cuh",
            &["cast/n1h7w5c10-exact-to-activation/bf16"],
        )
        .find("return __float2bfloat16_rn(value);")
        .put("return __ushort_as_bfloat16(__builtin_bit_cast(uint32_t, value) >> 16);")
        .of(&["elementwise"]),
    ]
}

fn shortcuts() -> Vec<Fault> {
    const FILE: &str = "shortcut.cu";
    vec![
        Fault::rows("from and to are swapped", FILE, &["shortcut/n1h7w5c10k12s2-copy9from1to2/f32"])
            .find("at.channel >= p.to && at.channel < p.to + p.copied")
            .put("at.channel >= p.from && at.channel < p.from + p.copied"),
        Fault::rows(
            "from and to are swapped in the gradient",
            FILE,
            &["shortcut_backward/n1h7w5c10k12s2-copy9from1to2/f32"],
        )
        .find("at.channel - p.from + p.to}")
        .put("at.channel - p.to + p.from}"),
        Fault::rows(
            "a gradient at pixels that were skipped",
            FILE,
            &["shortcut_backward/n1h7w5c10k20s2-copy10from0to0/f32"],
        )
        .find(" && at.row % p.stride == 0 && at.column % p.stride == 0")
        .put(""),
        Fault::rows(
            "padded channels are left as they are",
            FILE,
            &["shortcut/n1h7w5c10k20s1-copy10from0to0/f32"],
        )
        .find("T value = store<T>(0.0f);\n        if (at.channel >= p.to")
        .put("T value = static_cast<T*>(p.written)[i];\n        if (at.channel >= p.to"),
    ]
}

fn classifier() -> Vec<Fault> {
    vec![
        Fault::rows("the pool loses its last pixel", "pool.cu", &["global_avg_pool/n1h7w5c10/f32"])
            .find("pixel < p.pixels; ++pixel")
            .put("pixel + 1 < p.pixels; ++pixel"),
        Fault::rows(
            "the pool's gradient is not divided",
            "pool.cu",
            &["global_avg_pool_backward/n1h7w5c10/f32"],
        )
        .find("store<T>(dy / float(p.pixels))")
        .put("store<T>(dy)"),
        Fault::rows("the bias of the wrong class", "linear.cu", &["linear/n5c20k10/f32"])
            .find("p.bias[k];")
            .put("p.bias[0];"),
        Fault::rows("weights are read transposed", "linear.cu", &["linear_data_grad/n5c20k10/f32"])
            .find("p.b[uint64_t(k) * p.inputs + c];")
            .put("p.b[uint64_t(c) * p.outputs + k];"),
    ]
}

fn loss() -> Vec<Fault> {
    const FILE: &str = "softmax_cross_entropy.cu";
    vec![
        Fault::rows(
            "softmax without subtracting the maximum",
            FILE,
            &["softmax_cross_entropy/n5k10-large/f32"],
        )
        .find(
            "        sum += expf(logits[k] - logits[best]);
    }
    return {logits[best], best, logf(sum)};",
        )
        .put("        sum += expf(logits[k]);\n    }\n    return {0, best, logf(sum)};"),
        Fault::rows("the last among equals", FILE, &["softmax_cross_entropy/n64k10-ties/f32"])
            .find("logits[k] > logits[best]")
            .put("logits[k] >= logits[best]"),
        Fault::rows(
            "smoothing over the other classes alone",
            FILE,
            &["softmax_cross_entropy/n5k3-smoothing/f32"],
        )
        .find("float(1.0 - smoothing + spread), float(spread)")
        .put("float(1.0 - smoothing), float(smoothing / (classes - 1))"),
        Fault::rows(
            "no barrier before the threads' sums are added",
            FILE,
            &["softmax_cross_entropy/n5k3/f32"],
        )
        .find("shared.correct[threadIdx.x] = correct;\n    __syncthreads();")
        .put("shared.correct[threadIdx.x] = correct;"),
        Fault::rows("shared memory is read that nobody wrote", FILE, &["softmax_cross_entropy/n5k3/f32"])
            .find("    shared.loss[threadIdx.x] = loss;")
            .put("    if (threadIdx.x < p.samples) shared.loss[threadIdx.x] = loss;"),
        Fault::rows(
            "the gradient of the sum in place of the mean",
            FILE,
            &["softmax_cross_entropy_backward/n5k3/f32"],
        )
        .find("*p.dloss / float(p.samples)")
        .put("*p.dloss"),
    ]
}
