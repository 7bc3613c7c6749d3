//! Of the convolutions on Hopper, `conv2d/wgmma*`: what a tile is, what its copies bring, and how it goes out.

use super::Fault;
use super::hopper::{Run, fault};

/// Nine steps; half a tile at the end.
const FORWARD: Run = (&["conv2d/n5h8w8c64k128r3s1p1-e32-stats/bf16/wgmma"], &["conv2d_wgmma_128_bf16"]);
/// Tiles that begin within an image's row.
const STRIDED_FORWARD: Run =
    (&["conv2d/n4h15w17c64k96r3s2p1-e32-stats/bf16/wgmma-ws"], &["conv2d_wgmma_ws_96_bf16"]);
/// Two tiles of columns.
const WIDE: Run =
    (&["conv2d/n1h8w8c288k256r1s1p0-e144-stats/bf16/wgmma-ws"], &["conv2d_wgmma_ws_128_span32_bf16"]);
/// Stages of three spans of 32 channels.
const SPANS: Run = (&["conv2d/n2h8w8c96k96r3s1p1/bf16/wgmma-ws"], &["conv2d_wgmma_ws_96_span32_bf16"]);
/// A warp group's rows end within it.
const EDGE: Run = (&["conv2d/n5h12w12c128k128r1s1p0-e64-stats/bf16/wgmma"], &["conv2d_wgmma_128_bf16"]);
const STORED_EDGE: Run =
    (&["conv2d/n5h12w12c128k128r1s1p0-e64-stats/bf16/wgmma-store"], &["conv2d_wgmma_store_128_bf16"]);
/// Four residue classes.
const STRIDED: Run = (
    &["conv2d_data_grad/n4h15w17c64k96r3s2p1-e32-masked/bf16/wgmma-ws"],
    &["conv2d_data_grad_wgmma_ws_64_span32_bf16"],
);
const PROJECTED: Run = (
    &["conv2d_data_grad/n4h6w6c64k64r3s1p1-projected/bf16/wgmma-ws"],
    &["conv2d_data_grad_wgmma_ws_64_bf16"],
);
const RELU: Run = (
    &["conv2d_data_grad/n4h6w6c64k64r3s1p1-add-relu-projection/bf16/wgmma-cluster"],
    &["conv2d_data_grad_wgmma_cluster_64_bf16"],
);
/// Of a stage's 64 pixels the last one has 16.
const WEIGHTS: Run =
    (&["conv2d_weight_grad/n5h12w12c128k128r1s1p0/bf16/wgmma-ws"], &["conv2d_weight_grad_wgmma_ws_128_bf16"]);
const TAPS: Run =
    (&["conv2d_weight_grad/n4h6w6c64k64r3s1p1/bf16/wgmma"], &["conv2d_weight_grad_wgmma_64_bf16"]);
/// 256 rows.
const TALL: Run = (
    &["conv2d_weight_grad/n3h4w16c32k192r3s1p1/bf16/wgmma-persistent"],
    &["conv2d_weight_grad_wgmma_persistent_192_span32_bf16"],
);
/// Two images a patch.
const HALO: Run =
    (&["conv2d/n5h8w8c64k128r3s1p1-e32-stats/bf16/wgmma-halo"], &["conv2d_wgmma_halo_128_bf16"]);
const HALO_DATA_GRAD: Run = (
    &["conv2d_data_grad/n5h8w8c64k128r3s1p1-e32-masked/bf16/wgmma-halo"],
    &["conv2d_data_grad_wgmma_halo_64_bf16"],
);
const WEIGHTS_HALO: Run =
    (&["conv2d_weight_grad/n5h8w8c64k128r3s1p1/bf16/wgmma-halo"], &["conv2d_weight_grad_wgmma_halo_64_bf16"]);

pub fn faults() -> Vec<Fault> {
    [operands(), forward(), data_grad(), weight_grad(), halo(), weight_grad_halo()]
        .into_iter()
        .flatten()
        .collect()
}

fn operands() -> Vec<Fault> {
    const TILE: &str = "conv2d/wgmma_tile.cuh";
    const INDEX: &str = "conv2d/wgmma_index.cuh";
    vec![
        fault("the second 16 depths of the columns are the first", TILE, FORWARD)
            .find("columns + Columns::offset(0, step) / 16, true")
            .put("columns + Columns::offset(0, 0) / 16, true"),
        fault("a swizzle of 128 bytes for lines of 64", TILE, SPANS)
            .find("Operand::SPAN == 64 ? ptx::Swizzle::Bytes128 : ptx::Swizzle::Bytes64")
            .put("ptx::Swizzle::Bytes128"),
        fault("both warp groups have the same rows", TILE, FORWARD)
            .find("Rows::offset(Tile::GROUP_ROWS, 0) * group +")
            .put(""),
        fault("the second 64 rows of a warp group are the first", TILE, TALL)
            .find("Rows::offset(i * WGMMA_ROWS, step)")
            .put("Rows::offset(0, step)"),
        fault("groups of eight lines lie half as far apart", INDEX, SPANS)
            .find("STRIDE = 8 * LINE_BYTES;")
            .put("STRIDE = 4 * LINE_BYTES;"),
        fault("boxes across the depth lie in one place", INDEX, WEIGHTS)
            .find("LEADING = ALONG_DEPTH ? 0 : BOX_BYTES;")
            .put("LEADING = 0;"),
        fault("filters of the data gradient are read along the depth", TILE, PROJECTED)
            .find("Operand::ALONG_DEPTH ? ptx::Major::Depth : ptx::Major::Across")
            .put("ptx::Major::Depth"),
    ]
}

fn forward() -> Vec<Fault> {
    const FILE: &str = "conv2d/wgmma_forward.cuh";
    vec![
        fault("the corner of a tile's first row is off by one", FILE, FORWARD)
            .find("int32_t(first.x * e.stride) - int32_t(e.pad),")
            .put("int32_t(first.x * e.stride) - int32_t(e.pad) + 1,"),
        fault("the corner of a tile's first row without its stride", FILE, STRIDED_FORWARD)
            .find("int32_t(first.x * e.stride) - int32_t(e.pad),")
            .put("int32_t(first.x) - int32_t(e.pad),"),
        fault("every tile has the first one's filters", FILE, WIDE)
            .find("tile % filter_tiles * COLUMNS,")
            .put("0,"),
        fault("taps of rows and columns are swapped, by im2col", FILE, SPANS)
            .find("uint16_t(at.column), uint16_t(at.row), 0);")
            .put("uint16_t(at.row), uint16_t(at.column), 0);"),
        fault("spans of a stage bring the same filters", FILE, SPANS)
            .find("p.conv.e.c + at.channel;")
            .put("p.conv.e.c;"),
        fault("statistics count rows past the last of a warp group", FILE, EDGE)
            .find("if (group_row(place.thread, i, round) < place.count) {")
            .put("{"),
        fault("the mean is of a full tile's rows", FILE, EDGE)
            .find("/ float(place.count);")
            .put("/ float(Tile::GROUP_ROWS);"),
        fault("statistics count rows past the last, from registers", "conv2d/wgmma_store.cuh", STORED_EDGE)
            .find("if (i * WGMMA_ROWS + fragment_row(place.thread, half) < place.count) {")
            .put("{"),
        fault(
            "parts of a tile go out through one place without a barrier",
            "conv2d/wgmma_epilogue.cuh",
            EDGE,
        )
        .find("out.sums[at % Out::PLACES];")
        .put("out.sums[0];"),
    ]
}

fn data_grad() -> Vec<Fault> {
    const FILE: &str = "conv2d/wgmma_data_grad.cuh";
    vec![
        fault("taps count from the first of a class", FILE, STRIDED)
            .find("columns.source(columns.origin(first.x), columns.taps - 1);")
            .put("columns.source(columns.origin(first.x), 0);"),
        fault("taps of a class are neighbours in the filter", FILE, STRIDED)
            .find("work.s - at.column * p.conv.e.stride;")
            .put("work.s - at.column;"),
        fault("every class has the first one's box", FILE, STRIDED)
            .find(".dz[work.residue_class];")
            .put(".dz[0];"),
        fault("a projection with its layer's filters, by copies", FILE, PROJECTED)
            .find("p.maps[at.convolution].w,")
            .put("p.maps[0].w,"),
        fault("a projection begins before its layer ends", FILE, PROJECTED)
            .find("if (at.row == work.tap_rows) {")
            .put("if (at.row + 1 == work.tap_rows) {"),
        fault("rows of the filter's taps are one", FILE, HALO_DATA_GRAD)
            .find("work.r - at.row * p.conv.e.stride,")
            .put("work.r,"),
        fault("sums of the warps are read before they are there", FILE, RELU)
            .find("        place.sync();\n        // [parts, 1 + branches")
            .put("        // [parts, 1 + branches"),
        fault("blocks of a cluster share their partial sums' place", FILE, RELU)
            .find("(row_tile * SHARERS + sharer) * GROUPS;")
            .put("row_tile * SHARERS * GROUPS;"),
    ]
}

fn weight_grad() -> Vec<Fault> {
    const FILE: &str = "conv2d/wgmma_weight_grad.cuh";
    vec![
        fault("a split loses its last stage", FILE, WEIGHTS)
            .find("ceil_div(count, WEIGHT_GRAD_DEPTH)")
            .put("count / WEIGHT_GRAD_DEPTH"),
        fault("a split begins a stage late", FILE, WEIGHTS)
            .find("first_pixel = split * p.conv.pixels_per_split;")
            .put("first_pixel = split * (p.conv.pixels_per_split + WEIGHT_GRAD_DEPTH);"),
        fault("every stage has the first one's pixels", FILE, WEIGHTS)
            .find("        advance_pixel(pixel, pixels, e.p, e.q);\n")
            .put(""),
        fault("a tile's rows are of one tap", FILE, TAPS)
            .find("            tap.advance(SPAN, e.c, e.s);\n")
            .put(""),
    ]
}

fn halo() -> Vec<Fault> {
    const FILE: &str = "conv2d/wgmma_halo.cuh";
    vec![
        fault("a patch begins an image row late", FILE, HALO)
            .find("work.x + int32_t(at.column), work.y,")
            .put("work.x + int32_t(at.column), work.y + 1,"),
        fault("a second image without its halo", "conv2d/wgmma_index.cuh", HALO)
            .find("image_row / rows * (HALO_TAPS - 1)) * width + row % width;")
            .put("image_row / rows) * width + row % width;"),
        fault("a tap further down is a line short of an image row", FILE, HALO)
            .find("tap = patch.width * LINE;")
            .put("tap = (patch.width - 1) * LINE;"),
        fault("as many bytes are expected as a patch may have", FILE, HALO)
            .find("patch.lines() * Rows::LINE_BYTES + Product")
            .put("Rows::BYTES + Product"),
        fault("taps below each other count upwards", FILE, HALO)
            .find("full, work, at.row, at, sharer);")
            .put("full, work, HALO_TAPS - 1 - at.row, at, sharer);"),
    ]
}

fn weight_grad_halo() -> Vec<Fault> {
    const FILE: &str = "conv2d/wgmma_weight_grad_halo.cuh";
    /// All nine pieces have channels.
    const WHOLE: Run = (
        &["conv2d_weight_grad/n2h8w8c96k96r3s1p1/bf16/wgmma-halo"],
        &["conv2d_weight_grad_wgmma_halo_96_bf16"],
    );
    let halo = |name| fault(name, FILE, WEIGHTS_HALO);
    vec![
        halo("both taps of a wgmma are the first").find(" + (second.tap - first.tap) * tap;").put(";"),
        halo("pieces of two patches lie in one")
            .find("(second.span - first.span) * (PATCH_BYTES / 16) + ")
            .put(""),
        halo("the second image of a stage without its halo").find("(step >= of_image ? image : 0)").put("0"),
        fault("the piece without a pair is stored twice", FILE, WHOLE)
            .find(" && !(twice && row >= HALO_SPAN)")
            .put(""),
        fault(
            "a weight gradient in patches does not wait for the launch before",
            "conv2d/wgmma_ws.cuh",
            WEIGHTS_HALO,
        )
        .find("    ptx::wait_for_launch_before();\n")
        .put(""),
        halo("a split loses its last patch")
            .find("ceil_div(count, PATCH_PIXELS)")
            .put("count / PATCH_PIXELS"),
        halo("every filter column reads the same pixels").find("int32_t(work.tap_column) - 1,").put("-1,"),
        halo("the bytes of one span of three are expected")
            .find("PATCH_SPANS * patch.lines() * HALO_SPAN * BF16_BYTES")
            .put("patch.lines() * HALO_SPAN * BF16_BYTES"),
        halo("a stage of patches is empty when one warp group has used it")
            .find("(p, shared, CONSUMERS * (GROUP_THREADS / WARP));")
            .put("(p, shared, GROUP_THREADS / WARP);"),
    ]
}
