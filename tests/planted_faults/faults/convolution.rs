//! Of `conv2d/`.

use super::Fault;

const FORWARD: &[&str] = &["conv2d_tiled_forward"];
const DATA_GRAD: &[&str] = &["conv2d_tiled_data_grad"];
const NAIVE: &[&str] = &["conv2d_naive"];

pub fn faults() -> Vec<Fault> {
    [shared(), forward(), data_grad(), weight_grad(), naive()].into_iter().flatten().collect()
}

/// What all three products share: index maths, tiles, gathering, epilogues.
fn shared() -> Vec<Fault> {
    vec![
        Fault::rows(
            "no barrier before the tile loop",
            "conv2d/tile.cuh",
            &["conv2d_data_grad/n1h1w1c20k10r3s1p1/f32/tiled"],
        )
        .find("    operands.put(stages[0]);\n    __syncthreads();\n")
        .put("    operands.put(stages[0]);\n")
        .of(DATA_GRAD),
        Fault::rows(
            "no barrier after a step of the tile loop",
            "conv2d/tile.cuh",
            &["conv2d_data_grad/n1h1w1c20k10r3s1p1/f32/tiled"],
        )
        .find("        }\n        __syncthreads();\n    }\n}\n")
        .put("        }\n    }\n}\n")
        .of(DATA_GRAD),
        Fault::rows(
            "one stage of shared memory instead of two",
            "conv2d/tile.cuh",
            &["conv2d_data_grad/n1h1w1c20k10r3s1p1/f32/tiled"],
        )
        .find("stages[(step + 1) % 2]")
        .put("stages[step % 2]")
        .of(DATA_GRAD),
        Fault::rows(
            "a load reads one past the end of a run",
            "conv2d/tile.cuh",
            &["conv2d_data_grad/n1h7w5c3k10r3s1p1/f32/tiled"],
        )
        .find("run != nullptr && at + i < end ?")
        .put("run != nullptr && at + i <= end ?")
        .of(DATA_GRAD),
        Fault::rows(
            "a store writes one past the end of a run",
            "conv2d/tile.cuh",
            &["conv2d_data_grad/n1h7w5c3k10r3s1p1/f32/tiled"],
        )
        .find("if (at + i < end) {")
        .put("if (at + i <= end) {")
        .of(DATA_GRAD),
        Fault::rows(
            "a whole quad at the end of a run",
            "conv2d/tile.cuh",
            &["conv2d/n2h7w5c20k33r3s1p1/f32/tiled"],
        )
        .find("if (whole && run != nullptr && at < end) {")
        .put("if (whole && run != nullptr && at <= end) {")
        .of(FORWARD),
        Fault::rows(
            "the tile is written without its swizzle",
            "conv2d/tile.cuh",
            &["conv2d_data_grad/n1h1w1c20k10r3s1p1/f32/tiled"],
        )
        .find("tile[depth][swizzled(depth, quad / DEPTH_QUADS)]")
        .put("tile[depth][quad / DEPTH_QUADS]")
        .of(DATA_GRAD),
        Fault::rows(
            "the padding is not filled with zeros",
            "conv2d/tile.cuh",
            &["conv2d_data_grad/n2h7w5c20k33r3s1p1/f32/tiled"],
        )
        .find("            held[pass] = load_quad(runs[pass],")
        .put("            if (runs[pass] != nullptr) held[pass] = load_quad(runs[pass],")
        .of(DATA_GRAD),
        Fault::rows(
            "no barrier after the origins",
            "conv2d/gather.cuh",
            &["conv2d_data_grad/n1h1w1c20k10r3s1p1/f32/tiled"],
        )
        .find("Origin{NOWHERE, NOWHERE, 0});\n    }\n    __syncthreads();\n")
        .put("Origin{NOWHERE, NOWHERE, 0});\n    }\n")
        .of(DATA_GRAD),
        Fault::rows(
            "the right border wraps around",
            "conv2d/gather.cuh",
            &["conv2d_data_grad/n2h7w5c20k33r3s1p1/f32/tiled"],
        )
        .find(" || !inside(columns.source(origin.x, j), width)")
        .put("")
        .of(DATA_GRAD),
        Fault::rows(
            "the last channels of a tap are dropped",
            "conv2d/gather.cuh",
            &["conv2d_data_grad/n2h7w5c20k33r3s1p1/f32/tiled"],
        )
        .find("columns.taps * ceil_div(channels, TILE_DEPTH)")
        .put("columns.taps * (channels / TILE_DEPTH)")
        .of(DATA_GRAD),
        Fault::rows(
            "the forward halo is off by one",
            "conv2d/index.cuh",
            &["conv2d/n2h7w5c20k33r3s1p1/f32/tiled"],
        )
        .find("int32_t(stride), -int32_t(pad), 1};")
        .put("int32_t(stride), 1 - int32_t(pad), 1};")
        .of(FORWARD),
        Fault::rows(
            "the naive halo is off by one",
            "conv2d/index.cuh",
            &["conv2d/n2h7w5c20k33r3s1p1/f32/naive"],
        )
        .find("int32_t(p * stride + r) - int32_t(pad);")
        .put("int32_t(p * stride + r) - int32_t(pad) + 1;")
        .of(NAIVE),
        Fault::rows(
            "the data gradient's halo is off by one",
            "conv2d/index.cuh",
            &["conv2d_data_grad/n2h7w5c20k33r3s1p1/f32/tiled"],
        )
        .find("            int32_t(reach / stride),\n")
        .put("            int32_t(reach / stride) + 1,\n")
        .of(DATA_GRAD),
        Fault::rows(
            "the data gradient mirrors its filter",
            "conv2d/index.cuh",
            &["conv2d_data_grad/n2h7w5c20k33r3s1p1/f32/tiled"],
        )
        .find("            int32_t(reach / stride),\n            -1};")
        .put("            int32_t(reach / stride) + 1 - int32_t(filter),\n            1};")
        .of(DATA_GRAD),
        Fault::rows(
            "a residue loses its last tap",
            "conv2d/index.cuh",
            &["conv2d_data_grad/n2h7w5c20k33r3s2p1/f32/tiled"],
        )
        .find("tap_first < filter ? ceil_div(filter - tap_first, stride) : 0")
        .put("(filter - tap_first) / stride")
        .of(DATA_GRAD),
        Fault::rows(
            "the naive data gradient reads past the outputs",
            "conv2d/index.cuh",
            &["conv2d_data_grad/n2h7w5c20k33r3s1p1/f32/naive"],
        )
        .find("(reach - r) / stride >= outputs")
        .put("(reach - r) / stride > outputs")
        .of(NAIVE),
        Fault::rows(
            "E at the wrong pixel under a stride",
            "conv2d/epilogue.cuh",
            &["conv2d/n2h7w5c20k33r3s2p1-e10/f32/naive"],
        )
        .find("z.y * e.stride, z.x * e.stride}")
        .put("z.y, z.x}")
        .of(NAIVE),
        Fault::rows(
            "E^T at pixels that have no partner",
            "conv2d/epilogue.cuh",
            &["conv2d_data_grad/n2h7w5c20k33r3s2p1-e10/f32/naive"],
        )
        .find("x.y % e.stride == 0 && x.x % e.stride == 0")
        .put("x.y % e.stride == 0")
        .of(NAIVE),
        Fault::rows(
            "the addend's mask is ignored",
            "conv2d/epilogue.cuh",
            &["conv2d_data_grad/n2h7w5c20k33r3s1p1-masked/f32/naive"],
        )
        .find("(p.mask == nullptr || mask_bit(p.mask, at))")
        .put("true")
        .of(NAIVE),
        Fault::rows(
            "the outer shortcut comes after ReLU",
            "conv2d/epilogue.cuh",
            &["conv2d/n1h7w5c3k10r3s1p1-scale-outer-relu/f32/naive"],
        )
        .find(
            "const float y = scale * sum + shift + outer;
    return p.relu != 0 ? relu_of(y) : y;",
        )
        .put(
            "const float y = scale * sum + shift;
    return outer + (p.relu != 0 ? relu_of(y) : y);",
        )
        .of(NAIVE),
    ]
}

fn forward() -> Vec<Fault> {
    const FILE: &str = "conv2d/tiled_forward.cu";
    vec![
        Fault::rows("a load of 16 bytes is misaligned", FILE, &["conv2d/n1h7w5c3k10r3s1p1/f32/tiled"])
            .find("first_filter, e.k, e.c % QUAD == 0, {}")
            .put("first_filter, e.k, true, {}"),
        Fault::rows(
            "E copies the second half of the streams",
            FILE,
            &["conv2d/n2h8w8c32k64r3s2p1-e16/f32/tiled"],
        )
        .find("load_quad(static_cast<const T*>(p.x) + from, k,")
        .put("load_quad(static_cast<const T*>(p.x) + from + e.c - e.identity, k,"),
        Fault::rows("a pixel past the last one", FILE, &["conv2d/n1h7w5c3k10r3s1p1/f32/tiled"])
            .find("if (m >= pixels) {")
            .put("if (m > pixels) {"),
        Fault::rows(
            "statistics of what was not stored",
            FILE,
            &["conv2d/n1h7w5c3k10r3s1p1-stats/bf16/tiled"],
        )
        .find("sums[i][j + l] = load(stored.v[l]);")
        .put("sums[i][j + l] = sum.v[l];"),
        Fault::rows(
            "statistics count rows past the last pixel",
            FILE,
            &["conv2d/n1h7w5c3k10r3s1p1-stats/f32/tiled"],
        )
        .find("tile_row(threadIdx.x, i) < count ? z[i][j] - mean : 0")
        .put("z[i][j] - mean"),
        Fault::rows(
            "statistics lose a warp of rows",
            FILE,
            &["conv2d/n9h16w16c10k20r3s1p1-e5-stats/f32/tiled"],
        )
        .find("shared.squares[0][column] + shared.squares[1][column]")
        .put("shared.squares[0][column]"),
        Fault::rows("statistics without a barrier", FILE, &["conv2d/n1h7w5c3k10r3s1p1-stats/f32/tiled"])
            .find("] = sum;\n        }\n    }\n    __syncthreads();\n")
            .put("] = sum;\n        }\n    }\n"),
    ]
}

fn data_grad() -> Vec<Fault> {
    const FILE: &str = "conv2d/tiled_data_grad.cu";
    vec![
        Fault::rows("E^T is forgotten", FILE, &["conv2d_data_grad/n2h7w5c20k33r3s1p1-e10/f32/tiled"])
            .find("sums[i][j + l] + load(identity.v[l])")
            .put("sums[i][j + l]"),
        Fault::rows("a guard of the depth with <=", FILE, &["conv2d_data_grad/n2h7w5c20k33r3s1p1/f32/tiled"])
            .find("const T* run = k < e.k ?")
            .put("const T* run = k <= e.k ?"),
        Fault::rows(
            "rows and columns of a filter are swapped",
            FILE,
            &["conv2d_data_grad/n2h7w5c20k33r3s1p1/f32/tiled"],
        )
        .find("((uint64_t(k) * e.r + r) * e.s + s)")
        .put("((uint64_t(k) * e.r + s) * e.s + r)"),
        Fault::rows(
            "residues of rows and columns are swapped",
            "conv2d/gather.cuh",
            &["conv2d_data_grad/n2h7w5c20k33r3s2p1/f32/tiled"],
        )
        .find("gradient_line(residue_class / e.stride, e.h")
        .put("gradient_line(residue_class % e.stride, e.h")
        .of(DATA_GRAD),
    ]
}

fn weight_grad() -> Vec<Fault> {
    const FILE: &str = "conv2d/tiled_weight_grad.cu";
    vec![
        Fault::rows(
            "a split loses its last pixels",
            FILE,
            &["conv2d_weight_grad/n1h7w5c3k10r3s1p1/f32/tiled"],
        )
        .find("ceil_div(end - begin, TILE_DEPTH)")
        .put("(end - begin) / TILE_DEPTH"),
        Fault::rows(
            "pixels past the end of a split",
            FILE,
            &["conv2d_weight_grad/n1h7w5c3k10r3s1p1/f32/tiled"],
        )
        .find("load_quad(m < end ? dz")
        .put("load_quad(m <= end ? dz"),
        Fault::rows(
            "one list of origins instead of two",
            FILE,
            &["conv2d_weight_grad/n1h7w5c3k10r3s1p1/f32/tiled"],
        )
        .find("return pixel / TILE_DEPTH % 2;")
        .put("return 0;"),
        Fault::rows("no barrier after the taps", FILE, &["conv2d_weight_grad/n1h7w5c3k10r3s1p1/f32/tiled"])
            .find("operands.find_step_origins(begin);\n    __syncthreads();")
            .put("operands.find_step_origins(begin);"),
        Fault::rows(
            "the last split is not added",
            FILE,
            &["conv2d_weight_grad/n9h16w16c10k20r3s1p1/f32/tiled"],
        )
        .find("split < p.splits; ++split")
        .put("split + 1 < p.splits; ++split"),
    ]
}

fn naive() -> Vec<Fault> {
    const FILE: &str = "conv2d/naive.cu";
    vec![
        Fault::rows("E has a channel too many", FILE, &["conv2d/n2h7w5c20k33r3s1p1-e10/f32/naive"])
            .find("if (k < e.identity) {")
            .put("if (k <= e.identity) {"),
        Fault::rows(
            "a thread past the last element",
            FILE,
            &["conv2d_weight_grad/n1h7w5c3k10r3s1p1/f32/naive"],
        )
        .find("if (at >= uint64_t(e.k) * columns) {")
        .put("if (at > uint64_t(e.k) * columns) {"),
        Fault::rows("the addend is added twice", FILE, &["conv2d_data_grad/n1h7w5c3k10r3s1p1-add/f32/naive"])
            .find("sum += load(static_cast<const T*>(p.addend)[at]);")
            .put("sum += 2 * load(static_cast<const T*>(p.addend)[at]);"),
    ]
}
