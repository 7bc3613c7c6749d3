//! Of `conv2d/mma_*`.

use super::Fault;

const FORWARD: &[&str] = &["conv2d_mma_forward"];
const DATA_GRAD: &[&str] = &["conv2d_mma_data_grad"];

/// 18 steps of 4 stages, two tiles of rows, two passes out.
const LONG: &[&str] = &["conv2d/n3h7w7c64k128r3s1p1-e32-stats/bf16/mma"];
/// Channels that are gathered one by one, of one operand along the depth and of the other across it.
const ODD: &[&str] = &["conv2d_data_grad/n2h7w5c20k33r3s1p1/bf16/mma"];
/// A stride, and filters that ldmatrix turns over.
const STRIDED: &[&str] = &["conv2d_data_grad/n3h13w13c24k32r3s2p1-e12-masked/bf16/mma"];
/// 32 channels outermost in the depth.
const STAGED: &[&str] = &["conv2d_data_grad/n2h8w8c32k64r3s2p1/bf16/mma"];
const WEIGHTS: &[&str] = &["conv2d_weight_grad/n3h7w7c64k128r3s1p1/bf16/mma"];
/// Channels that do not come in whole stages: a flat depth, whose last step is not full.
const FLAT: &[&str] = &["conv2d/n3h8w8c8k16r3s1p1-e4-stats/bf16/mma"];
/// The same product of whole channels, over the padding.
const ANY_WEIGHTS: &[&str] = &["conv2d_weight_grad/n2h7w5c20k33r3s1p1/bf16/mma"];

pub fn faults() -> Vec<Fault> {
    [pipeline(), tile(), depth(), way_out(), data_grad(), weight_grad()].into_iter().flatten().collect()
}

fn pipeline() -> Vec<Fault> {
    const FILE: &str = "conv2d/mma_tile.cuh";
    vec![
        Fault::rows("a stage is not waited for", FILE, LONG)
            .find("fragments[0].multiply(sums);\n        ptx::copy_async_wait<STAGES - 2>();\n")
            .put("fragments[0].multiply(sums);\n")
            .of(FORWARD),
        Fault::rows("a stage is waited for a step late", FILE, LONG)
            .find("fragments[0].multiply(sums);\n        ptx::copy_async_wait<STAGES - 2>();\n")
            .put("fragments[0].multiply(sums);\n        ptx::copy_async_wait<STAGES - 1>();\n")
            .of(FORWARD),
        Fault::rows("the first stage is waited for a step late", FILE, LONG)
            .find("    ptx::copy_async_wait<STAGES - 2>();\n    __syncthreads();\n\n")
            .put("    ptx::copy_async_wait<STAGES - 1>();\n    __syncthreads();\n\n")
            .of(FORWARD),
        Fault::rows("no barrier in a step", FILE, LONG)
            .find("        __syncthreads();\n        if (step + 1 < steps) {")
            .put("        if (step + 1 < steps) {")
            .of(FORWARD),
        Fault::rows("a stage is filled while it is read", FILE, LONG)
            .find("stages[(step + STAGES - 1) % STAGES]")
            .put("stages[step % STAGES]")
            .of(FORWARD),
        Fault::rows("a step without a group of its own", FILE, LONG)
            .find("        ptx::copy_async_commit();\n        fragments[0]")
            .put("        fragments[0]")
            .of(FORWARD),
    ]
}

fn tile() -> Vec<Fault> {
    const FILE: &str = "conv2d/mma_tile.cuh";
    const INDEX: &str = "conv2d/mma_index.cuh";
    vec![
        Fault::rows("a tile is read without its swizzle", FILE, LONG)
            .find("? swizzled_chunk<Tile::CHUNKS>(at + lane % 8, depth / CHUNK)")
            .put("? (at + lane % 8) * Tile::CHUNKS + depth / CHUNK")
            .of(FORWARD),
        Fault::rows("the second depths are the first once more", FILE, LONG)
            .find("second ? places[0] ^ (MMA_STEP / CHUNK) : places[0]")
            .put("places[0]")
            .of(FORWARD),
        Fault::rows("the second depths begin a line late", FILE, STRIDED)
            .find("second ? MMA_STEP * Tile::CHUNKS : 0")
            .put("second ? (MMA_STEP + 1) * Tile::CHUNKS : 0")
            .of(DATA_GRAD),
        Fault::rows("a tile is filled without its swizzle", INDEX, LONG)
            .find("return swizzled_chunk<CHUNKS>(line(thread, 0), chunk(thread, 0)) +")
            .put("return line(thread, 0) * CHUNKS + chunk(thread, 0) +")
            .of(FORWARD),
        Fault::rows("registers of a fragment are swapped", FILE, LONG)
            .find("{columns[j / 2][j % 2 * 2], columns[j / 2][j % 2 * 2 + 1]}")
            .put("{columns[j / 2][j % 2 * 2 + 1], columns[j / 2][j % 2 * 2]}")
            .of(FORWARD),
        Fault::rows("an operand across the depth is not turned over", FILE, STRIDED)
            .find("ptx::load_matrices<!Tile::ALONG_DEPTH>")
            .put("ptx::load_matrices<false>")
            .of(DATA_GRAD),
        Fault::rows("the row operand's matrices are in the columns' order", INDEX, LONG)
            .find("(row_operand ? lane / 8 % 2 : lane / 16) * 8")
            .put("(row_operand ? lane / 16 : lane / 16) * 8")
            .of(FORWARD),
        Fault::rows("the padding is copied", FILE, LONG)
            .find("global.nothing ? 0 : 16")
            .put("16")
            .of(FORWARD),
    ]
}

fn depth() -> Vec<Fault> {
    const FILE: &str = "conv2d/mma_gather.cuh";
    const ANY: &str = "conv2d/mma_any.cuh";
    const INDEX: &str = "conv2d/mma_index.cuh";
    vec![
        Fault::rows("the same 32 channels throughout", FILE, STAGED)
            .find("        channel += MMA_DEPTH;\n")
            .put("")
            .of(DATA_GRAD),
        Fault::rows("pixels past the last one are gathered", FILE, LONG)
            .find("source.origin(min(first + F::line(threadIdx.x, round), pixels - 1))")
            .put("source.origin(first + F::line(threadIdx.x, round))")
            .of(FORWARD),
        Fault::rows("the rows' taps decide for the columns", INDEX, LONG)
            .find("return (1u << i) | (1u << (MOST_TAPS + j));")
            .put("return (1u << i) | (1u << (MOST_TAPS + i));")
            .of(FORWARD),
        Fault::rows("the last tap of the padding is inside", INDEX, LONG)
            .find("~first_bits(first + int32_t(extent))")
            .put("~first_bits(first + int32_t(extent) + 1)")
            .of(FORWARD),
        Fault::rows("taps of the data gradient count the other way", INDEX, STRIDED)
            .find("line.direction > 0 ? -origin : origin - int32_t(extent) + 1")
            .put("-origin")
            .of(DATA_GRAD),
        Fault::rows("depths past the last tap", ANY, FLAT)
            .find("return at.i < tap_rows;")
            .put("return true;")
            .of(FORWARD),
        Fault::rows("gathered pairs are swapped", ANY, ODD)
            .find("bits << (i % 2 * 16)")
            .put("bits << ((i + 1) % 2 * 16)")
            .of(DATA_GRAD),
    ]
}

fn way_out() -> Vec<Fault> {
    const FILE: &str = "conv2d/mma_epilogue.cuh";
    const FORWARD_FILE: &str = "conv2d/mma_forward.cu";
    const EIGHT_FILE: &str = "conv2d/eight.cuh";
    vec![
        Fault::rows("sums are read without their swizzle", FILE, LONG)
            .find("return &sums[row][staged_column(row, group() * CHUNK)];")
            .put("return &sums[row][group() * CHUNK];")
            .of(FORWARD),
        Fault::rows(
            "the second pass does not wait for the first",
            FILE,
            &["conv2d/n3h7w7c64k128r3s1p1-e32-scale-outer-relu/bf16/mma"],
        )
        .find("    if (pass > 0) {\n        __syncthreads();\n    }\n")
        .put("")
        .of(FORWARD),
        Fault::rows("the last lane of rows is not added", FILE, LONG)
            .find("lane < S::ROW_LANES; ++lane")
            .put("lane + 1 < S::ROW_LANES; ++lane")
            .of(FORWARD),
        Fault::rows("statistics of what was not rounded", EIGHT_FILE, LONG)
            .find("        v[i] = eight[i];\n        v[i + 1] = eight[i + 1];\n")
            .put("")
            .of(FORWARD),
        Fault::rows("statistics count rows past the last pixel", FORWARD_FILE, LONG)
            .find("row < count; row += S::ROW_LANES")
            .put("row < TILE_ROWS; row += S::ROW_LANES"),
        Fault::rows(
            "filters past the last",
            FORWARD_FILE,
            &["conv2d/n1h3w3c384k40r3s2p1-e40-stats/bf16/mma"],
        )
        .find("k >= count};")
        .put("false};"),
        Fault::rows("E of the neighbouring channel", EIGHT_FILE, LONG)
            .find("load_eight<WHOLE>(run, k, e.identity, columns.whole_identity)")
            .put("load_eight<WHOLE>(run + 8, k, e.identity, columns.whole_identity)")
            .of(FORWARD),
    ]
}

fn data_grad() -> Vec<Fault> {
    const FILE: &str = "conv2d/mma_data_grad.cu";
    const EIGHT_FILE: &str = "conv2d/eight.cuh";
    /// Two tiles of rows, the last not full; under the stride, smaller classes that have a tile less.
    const RELU: &[&str] = &["conv2d_data_grad/n3h13w13c24k32r3s2p1-e12-add-relu-projection/bf16/mma"];
    let relu = |name: &'static str| Fault::rows(name, FILE, RELU);
    vec![
        Fault::rows(
            "residues of rows and columns are swapped, on tensor cores",
            "conv2d/gather.cuh",
            STRIDED,
        )
        .find("gradient_line(residue_class / e.stride, e.h")
        .put("gradient_line(residue_class % e.stride, e.h")
        .of(DATA_GRAD),
        Fault::rows(
            "a projection with its layer's filters",
            "conv2d/epilogue.cuh",
            &["conv2d_data_grad/n2h8w8c32k64r3s2p1-projected/bf16/mma"],
        )
        .find("Transposed{p.dzp, p.wp}")
        .put("Transposed{p.dzp, p.w}")
        .of(DATA_GRAD),
        Fault::rows("E^T at pixels that have no partner, on tensor cores", EIGHT_FILE, STRIDED)
            .find("identity_output(x, e), on_identity_grid(x, e)) {}")
            .put("identity_output(x, e), true) {}")
            .of(DATA_GRAD),
        Fault::rows("the addend is added whole", EIGHT_FILE, STRIDED)
            .find("p.mask != nullptr ? load_bits<WHOLE>(p.mask, at + c, elements, whole) : 0xff")
            .put("0xff")
            .of(DATA_GRAD),
        Fault::rows("the ReLU's bit is ignored", EIGHT_FILE, RELU)
            .find("o.passed >> l & 1 ? dx : 0")
            .put("dx")
            .of(DATA_GRAD),
        relu("a tile without pixels leaves its sums as they were")
            .find("tile_partials(p, row_tile, channel_tiles)[quantity * e.c + c] = 0;")
            .put(""),
        Fault::rows("all classes share their partials", "conv2d/epilogue.cuh", RELU)
            .find("uint64_t(blockIdx.z) * row_tiles + row_tile")
            .put("uint64_t(row_tile)")
            .of(DATA_GRAD),
        relu("both branches have one mean").find("&shared.means[b][column]").put("&shared.means[0][column]"),
        relu("no barrier between two sums")
            .find("        if (quantity > 0) {\n            __syncthreads();\n        }\n")
            .put(""),
    ]
}

fn weight_grad() -> Vec<Fault> {
    const FILE: &str = "conv2d/mma_weight_grad.cu";
    vec![
        Fault::rows("a split loses its last pixels, on tensor cores", FILE, WEIGHTS)
            .find("ceil_div(end - begin, MMA_DEPTH)")
            .put("(end - begin) / MMA_DEPTH"),
        Fault::rows(
            "pixels past the end of a split, on tensor cores",
            FILE,
            &["conv2d_weight_grad/n3h13w13c24k32r3s2p1/bf16/mma"],
        )
        .find("line_round) >= pixels ||")
        .put("line_round) > pixels ||"),
        Fault::rows("pixels past the end of a split, of any channels", FILE, ANY_WEIGHTS)
            .find("m < place.end && k < e.k ?")
            .put("m <= place.end && k < e.k ?"),
        Fault::rows(
            "two splits have the same pixels",
            FILE,
            &["conv2d_weight_grad/n9h16w16c10k20r3s1p1/bf16/mma"],
        )
        .find("blockIdx.y * p.pixels_per_split")
        .put("blockIdx.y / 2 * p.pixels_per_split"),
        Fault::rows(
            "filters past the last, of the weight gradient",
            FILE,
            &["conv2d_weight_grad/n3h8w8c32k24r3s1p1/bf16/mma"],
        )
        .find("first_filter(chunk_round) >= filters")
        .put("false"),
        Fault::rows("corners of other steps", FILE, WEIGHTS)
            .find("&corners[step / STAGES % 2]")
            .put("&corners[(step / STAGES + 1) % 2]"),
        Fault::rows("corners are found where others are read", FILE, WEIGHTS)
            .find("corners[of_step / STAGES % 2][at] =")
            .put("corners[0][at] ="),
        Fault::rows("corners are found once", FILE, &["conv2d_weight_grad/n9h16w16c8k16r3s1p1/bf16/mma"])
            .find("if (step % STAGES == 0) {")
            .put("if (step == 0) {"),
        Fault::rows("origins of another step", FILE, ANY_WEIGHTS)
            .find("= origins[step % STAGES];")
            .put("= origins[(step + 1) % STAGES];"),
        Fault::rows("a warp stores the rows of another", FILE, WEIGHTS)
            .find("first_row + Tile::warp_row(threadIdx.x) + i * 16")
            .put("first_row + i * 16"),
    ]
}
