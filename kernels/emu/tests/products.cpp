// wgmma by PTX ISA, "Asynchronous Warpgroup Level Matrix Instructions": operands are put in shared memory by the
// canonical layouts of its table, under the swizzles of its tables, and sums are found by its figures of fragments.
#include <cstdlib>

#include "copy_test.hpp"

namespace {

constexpr uint32_t ROWS = 64, DEPTH = 16, T = 8;  // T: elements in 128 bits

// Small whole numbers, so that f32 adds their products exactly in any order.
int of_a(uint32_t row, uint32_t depth) { return int(row * 7 + depth * 3 + row * depth) % 11 - 5; }
int of_b(uint32_t depth, uint32_t column) { return int(depth * 5 + column * 2 + depth * column) % 13 - 6; }
uint16_t bf16(int value) {
    const float f = float(value);
    uint32_t bits;
    std::memcpy(&bits, &f, sizeof bits);
    return uint16_t(bits >> 16);
}

// How an operand of `width` rows or columns and `depth` lies in shared memory. `swizzle`: 0, or 1 to 3 for 32, 64 and
// 128 bytes, as in RirEmuTensorMap.
struct Layout {
    bool across;
    uint32_t swizzle, width, depth;

    // 128 bits along the contiguous dimension, in a swizzle's line.
    uint32_t units() const { return 1u << swizzle; }
    uint32_t span() const { return units() * T; }
    uint32_t spans() const { return (width + span() - 1) / span(); }
    // Bytes of the offsets that the descriptor holds. Every layout has some room between what it need not have side by
    // side, but whole patterns of a swizzle.
    uint32_t stride() const {
        if (swizzle == 0) return across ? (depth / 8) * leading() + 128 : 128;
        return 8 * span() * 2;
    }
    uint32_t leading() const {
        if (swizzle == 0) return across ? 128 : width / 8 * 128 + 128;
        return across ? (depth / 8) * stride() : 0;
    }
    // Canonical layouts, in elements, before the swizzle:
    //     MN-major  none:    ((T,1,m),(8,k)):((1,T,SBO),(1T,LBO))
    //               others:  ((T,u,m),(8,k)):((1,T,LBO),(uT,SBO)), u = 2, 4, 8
    //     K-major   none:    ((8,m),(T,2k)):((1T,SBO),(1,LBO))
    //               others:  ((8,m),(T,2k)):((uT,SBO),(1,T))
    // A K-major tile is one swizzle's line deep: what is deeper lies in tiles of `tile` bytes that follow each other.
    uint32_t place(uint32_t at, uint32_t d) const {
        const uint32_t u = units(), sbo = stride() / 2, lbo = leading() / 2;
        uint32_t element;
        if (across && swizzle == 0) {
            element = at % T + at / T * sbo + d % 8 * T + d / 8 * lbo;
        } else if (across) {
            element = at % T + at / T % u * T + at / (T * u) * lbo + d % 8 * u * T + d / 8 * sbo;
        } else if (swizzle == 0) {
            element = at % 8 * T + at / 8 * sbo + d % T + d / T * lbo;
        } else {
            element = at % 8 * u * T + at / 8 * sbo + d % T + d / T % u * T + d / span() * (tile() / 2);
        }
        return swizzled_place(element * 2, swizzle);
    }
    uint32_t tile() const { return (width + 7) / 8 * stride(); }
    uint32_t bytes() const {
        if (swizzle == 0) return across ? (width + 7) / 8 * stride() : depth / 8 * leading();
        return across ? spans() * leading() : (depth + span() - 1) / span() * tile();
    }
    // Where rows or columns from `at` on begin, as far as a descriptor can say it; at a multiple of 8.
    uint32_t from(uint32_t at) const {
        if (swizzle == 0 || !across) return at / 8 * stride();
        return at / span() * leading() + at % span() * 2;
    }
    // From a product's operand to the next one's, 16 depths further, within one tile.
    uint32_t step() const {
        if (swizzle == 0) return 2 * leading();
        return across ? 2 * stride() : DEPTH * 2;
    }
};

// Bytes round up to whole patterns of any swizzle.
uint32_t aligned(uint32_t bytes) { return (bytes + 1023) / 1024 * 1024; }

struct ProductTest : Run {
    Layout a, b;
    uint32_t columns, first_row, first_column;
    uint32_t groups = 1;
    bool in_registers = false;
    Tensor<uint32_t> image, fragments = Tensor<uint32_t>(4);
    Tensor<float> y;
    ProductParams params{};

    ProductTest(const std::string& kernel, const Layout& a, const Layout& b, uint32_t columns, uint32_t first_row = 0,
                uint32_t first_column = 0, uint32_t groups = 1)
        : Run(kernel, groups * 128, 1),
          a(a),
          b(b),
          columns(columns),
          first_row(first_row),
          first_column(first_column),
          groups(groups),
          y(groups * ROWS * columns) {
        shared_limit = 227 << 10;
        const uint32_t b_begins = aligned(a.bytes());
        params.image_bytes = b_begins + aligned(b.bytes());
        dynamic_shared = params.image_bytes;
        image.resize(params.image_bytes / 4);
        auto* to = reinterpret_cast<unsigned char*>(image.data());
        const auto put = [&](uint32_t place, uint16_t value) { std::memcpy(to + place, &value, sizeof value); };
        for (uint32_t d = 0; d < a.depth; ++d) {
            for (uint32_t row = 0; row < a.width; ++row) put(a.place(row, d), bf16(of_a(row, d)));
            for (uint32_t column = 0; column < b.width; ++column) {
                put(b_begins + b.place(column, d), bf16(of_b(d, column)));
            }
        }
        // A descriptor's codes of swizzles: none, 128, 64, 32 bytes.
        params.swizzle = a.swizzle == 0 ? 0 : 4 - a.swizzle;
        params.a = {a.from(first_row), a.leading(), a.stride(), a.step(), a.from(ROWS)};
        params.b = {b_begins + b.from(first_column), b.leading(), b.stride(), b.step(), 0};
        params.products = a.depth / DEPTH;
        params.of_group = 1;
        for (size_t i = 0; i < y.size(); ++i) y[i] = start(uint32_t(i));
    }
    static float start(uint32_t i) { return float(i % 97) - 40.0f; }
    ProductTest& run() {
        params.image = image.data();
        params.fragments = fragments.data();
        params.y = y.data();
        const RirEmuTensor tensors[] = {listed(image, false), listed(fragments, false), listed(y, true)};
        launch(params, tensors, 3);
        return *this;
    }
    void check() const {
        for (uint32_t i = 0; i < y.size(); ++i) {
            const uint32_t of_thread = columns / 2, sum = i % of_thread, thread = i / of_thread % 128;
            // Figure of accumulator D: d(i) of thread t.
            const uint32_t warp = thread / 32, lane = thread % 32;
            const uint32_t row = warp * 16 + lane / 4 + (sum % 4 >= 2 ? 8 : 0);
            const uint32_t column = sum / 4 * 8 + lane % 4 * 2 + sum % 2;
            const uint32_t group = i / of_thread / 128;
            int expected = params.accumulate ? int(start(i)) : 0;
            for (uint32_t d = 0; d < params.products * DEPTH; ++d) {
                expected += of_a(first_row + group * ROWS + row, d) * of_b(d, first_column + column);
            }
            CHECK(y[i] == float(expected), "%s, swizzle %u: row %u, column %u: %g, not %d", kernel.c_str(), a.swizzle,
                  row, column, y[i], expected);
        }
        CHECK(counters.warpgroup_products == groups * params.products, "%s: %d products", kernel.c_str(),
              int(counters.warpgroup_products));
    }
};

std::string name(bool a_across, bool b_across, uint32_t columns) {
    return std::string("multiply_") + (a_across ? "m" : "k") + (b_across ? "m" : "k") + "_" + std::to_string(columns);
}

void layouts() {
    for (const uint32_t columns : {8u, 24u, 64u, 96u, 192u, 256u}) {
        for (uint32_t order = 0; order < 4; ++order) {
            for (uint32_t swizzle = 0; swizzle <= 3; ++swizzle) {
                // As deep as one tile along the depth is.
                const uint32_t depth = swizzle == 0 ? 64 : 8u << swizzle;
                const Layout a{(order & 2) != 0, swizzle, 64, std::max(depth, DEPTH)};
                const Layout b{(order & 1) != 0, swizzle, columns, a.depth};
                each_seed([&] { return ProductTest(name(a.across, b.across, columns), a, b, columns); },
                          [](const ProductTest& test) { test.check(); }, 3);
            }
        }
    }
}

// Operands that begin within larger ones: by 8 lines, by spans, within a span.
void parts() {
    for (uint32_t order = 0; order < 4; ++order) {
        for (uint32_t swizzle = 0; swizzle <= 3; ++swizzle) {
            const uint32_t depth = std::max(swizzle == 0 ? 32 : 8u << swizzle, DEPTH);
            const Layout a{(order & 2) != 0, swizzle, 192, depth}, b{(order & 1) != 0, swizzle, 192, depth};
            for (const auto& [row, column] : {std::pair(8u, 64u), {64u, 8u}, {120u, 96u}, {128u, 128u}}) {
                // Across the depth, a descriptor cannot begin within a span and go on with the next one's beginning.
                if (a.across && row % a.span() != 0 && a.span() < 64 + row % a.span()) continue;
                if (b.across && column % b.span() != 0) continue;
                each_seed([&] { return ProductTest(name(a.across, b.across, 64), a, b, 64, row, column); },
                          [](const ProductTest& test) { test.check(); }, 3);
            }
        }
    }
    // Narrow products from within a span across the depth.
    const Layout a{false, 3, 64, 64}, b{true, 3, 64, 64};
    for (uint32_t column = 0; column < 64; column += 8) {
        each_seed([&] { return ProductTest(name(false, true, 8), a, b, 8, 0, column); },
                  [](const ProductTest& test) { test.check(); }, 3);
    }
}

// Products that add to what there was, in groups, under way while others start; by two warp groups at once.
void groups() {
    const Layout a{false, 3, 128, 64}, b{true, 3, 96, 64};
    for (const uint32_t of_group : {1u, 2u, 3u, 4u}) {
        for (const uint32_t behind : {0u, 1u}) {
            for (const uint32_t variant : {0u, 1u, 2u, 3u}) {
                const auto make = [&] {
                    ProductTest test(name(false, true, 96), a, b, 96, 0, 0, 2);
                    test.params.of_group = of_group;
                    test.params.behind = behind;
                    test.params.accumulate = variant % 2;
                    // As long as nobody touches the sums, one fence does.
                    test.params.one_fence = variant / 2;
                    return test;
                };
                each_seed(
                    make, [](const ProductTest& test) { test.check(); }, 5);
            }
        }
    }
}

// Operand A in registers, by the ISA's figure: of warp w, elements (a0, a1) are of row w * 16 + lane / 4 and depth lane
// % 4 * 2 on, (a2, a3) eight rows below, (a4, a5) and (a6, a7) the same eight depths on.
void operands_in_registers() {
    for (const auto& [kernel, columns] : {std::pair("multiply_rk_96", 96u), {"multiply_rm_192", 192u}}) {
        const bool across = columns == 192;
        for (uint32_t swizzle = 0; swizzle <= 3; ++swizzle) {
            const uint32_t depth = std::max(swizzle == 0 ? 32 : 8u << swizzle, DEPTH);
            const auto make = [&] {
                ProductTest test(kernel, {false, swizzle, 64, depth}, {across, swizzle, columns, depth}, columns);
                test.params.of_group = 2;
                test.params.accumulate = swizzle % 2;
                for (uint32_t i = 0; i < test.params.products * 128 * 8; ++i) {
                    const uint32_t element = i % 8, thread = i / 8 % 128, product = i / 8 / 128;
                    const uint32_t row = thread / 32 * 16 + thread % 32 / 4 + (element / 2 % 2 == 1 ? 8 : 0);
                    const uint32_t d = product * DEPTH + thread % 4 * 2 + element % 2 + (element >= 4 ? 8 : 0);
                    const uint32_t value = bf16(of_a(row, d));
                    test.fragments.resize(test.params.products * 128 * 4);
                    test.fragments[i / 2] |= element % 2 == 0 ? value : value << 16;
                }
                return test;
            };
            each_seed(
                make, [](const ProductTest& test) { test.check(); }, 10);
        }
    }
}

// Operands that cp.async brought; and sums that are the next product's operand.
void others() {
    const Layout layout{false, 3, 64, 64};
    each_seed([&] { return ProductTest("multiply_copied", layout, layout, 64); },
              [](const ProductTest& test) { test.check(); }, 20);
    const auto chain = [] {
        const Layout one{false, 0, 64, 16};
        return ProductTest("multiply_chain", one, one, 64);
    };
    const auto first = [](uint32_t row, uint32_t column) {
        int sum = 0;
        for (uint32_t d = 0; d < DEPTH; ++d) sum += of_a(row, d) * of_b(d, column);
        return sum;
    };
    const auto check = [&](const ProductTest& test) {
        for (uint32_t i = 0; i < test.y.size(); ++i) {
            const uint32_t sum = i % 32, thread = i / 32;
            const uint32_t row = thread / 32 * 16 + thread % 32 / 4 + (sum % 4 >= 2 ? 8 : 0);
            const uint32_t column = sum / 4 * 8 + thread % 4 * 2 + sum % 2;
            int expected = 0;
            for (uint32_t d = 0; d < 64; ++d) {
                // Of bf16's 8 bits.
                CHECK(std::abs(first(row, d)) <= 256, "inexact: %d", first(row, d));
                expected += first(row, d) * of_b(d % DEPTH, column);
            }
            CHECK(test.y[i] == float(expected), "chain: row %u, column %u: %g, not %d", row, column, test.y[i],
                  expected);
        }
    };
    each_seed(chain, check, 5);
}

}  // namespace

void products() {
    layouts();
    parts();
    groups();
    operands_in_registers();
    others();
}
