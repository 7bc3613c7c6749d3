// Bulk copies by PTX ISA, "Tensors": tiles, im2col, swizzles, what is outside of the tensor, and copies out.
#include "copy_test.hpp"

namespace {

// A tensor's bytes are all different within their neighbourhood, and none is 0.
unsigned char byte_of_tensor(uint64_t at) { return uint8_t(at * 2654435761u >> 13 | 1); }

void fill(Tensor<uint32_t>& x, uint64_t bytes) {
    x.assign((bytes + 3) / 4, 0);
    auto* to = reinterpret_cast<unsigned char*>(x.data());
    for (uint64_t i = 0; i < bytes; ++i) to[i] = byte_of_tensor(i);
}

uint64_t bytes_of_tensor(const RirEmuTensorMap& map) {
    return map.rank == 1 ? map.dims[0] * map.element_bytes : map.dims[map.rank - 1] * map.strides[map.rank - 2];
}

// Elements of a box along a dimension: "TMA loads ceil(boxDim[i] / elementStrides[i])"; the first is not strided.
uint32_t elements_of_box(const RirEmuTensorMap& map, uint32_t d) {
    const uint32_t step = d == 0 ? 1 : map.element_strides[d];
    return (map.box[d] + step - 1) / step;
}

// Calls f(n, offset) for the n-th element of a box that begins at these coordinates; offset is the element's in the
// tensor, or -1 where it is outside.
template <typename F>
void each_of_box(const RirEmuTensorMap& map, const int32_t* at, const F& f) {
    uint32_t count = 1;
    for (uint32_t d = 0; d < map.rank; ++d) count *= elements_of_box(map, d);
    for (uint32_t n = 0; n < count; ++n) {
        int64_t offset = 0;
        bool inside = true;
        for (uint32_t d = 0, rest = n; d < map.rank; rest /= elements_of_box(map, d++)) {
            const int64_t x = at[d] + int64_t(rest % elements_of_box(map, d)) * (d == 0 ? 1 : map.element_strides[d]);
            inside &= x >= 0 && x < int64_t(map.dims[d]);
            offset += x * int64_t(d == 0 ? map.element_bytes : map.strides[d - 1]);
        }
        f(n, inside ? offset : -1);
    }
}

// Checks what all copies of a list gave back; `element(item, n)` is where the n-th element is from.
template <typename Element>
void check_landed(const CopyTest& test, uint32_t elements, const Element& element) {
    const RirEmuTensorMap& map = test.maps[0];
    const uint32_t size = map.element_bytes;
    for (uint32_t item = 0; item < test.params.items; ++item) {
        std::vector<unsigned char> expected(test.params.words * 4, 0xab);
        for (uint32_t n = 0; n < elements; ++n) {
            const int64_t from = element(item, n);
            for (uint32_t b = 0; b < size; ++b) {
                const uint32_t place = swizzled_place(test.params.offset + n * size + b, map.swizzle);
                expected[place] = from < 0 ? 0 : byte_of_tensor(uint64_t(from) + b);
            }
        }
        const auto* got = reinterpret_cast<const unsigned char*>(&test.counts[item * test.params.words]);
        for (size_t i = 0; i < expected.size(); ++i) {
            CHECK(got[i] == expected[i], "%s, swizzle %u, copy %u, byte %zu: %02x, not %02x", test.kernel.c_str(),
                  map.swizzle, item, i, got[i], expected[i]);
        }
    }
}

void prepare(CopyTest& test, uint32_t bytes) {
    fill(test.x, bytes_of_tensor(test.maps[0]));
    test.params.bytes = bytes;
    // Some memory behind the copy stays as it was.
    test.params.words = (test.params.offset + bytes + 256) / 4;
    test.counts.resize(size_t(test.params.words) * test.params.items);
}

void boxes(const std::string& kernel, const RirEmuTensorMap& map, uint32_t offset,
           const std::vector<std::vector<int32_t>>& coordinates) {
    uint32_t elements = 1;
    for (uint32_t d = 0; d < map.rank; ++d) elements *= elements_of_box(map, d);
    const auto make = [&] {
        CopyTest test("load_" + kernel);
        test.maps[0] = map;
        test.params.offset = offset;
        for (const std::vector<int32_t>& at : coordinates) {
            test.add({});
            std::copy(at.begin(), at.end(), &test.list[test.list.size() - 8]);
        }
        prepare(test, elements * map.element_bytes);
        return test;
    };
    const auto check = [&](const CopyTest& test) {
        std::vector<std::vector<int64_t>> from(test.params.items, std::vector<int64_t>(elements));
        uint64_t read = 0;
        for (uint32_t item = 0; item < test.params.items; ++item) {
            each_of_box(map, &test.list[item * 8], [&](uint32_t n, int64_t offset) {
                from[item][n] = offset;
                read += offset >= 0 ? map.element_bytes : 0;
            });
        }
        check_landed(test, elements, [&](uint32_t item, uint32_t n) { return from[item][n]; });
        CHECK(test.counters.bulk_read_bytes == read, "%s: %d bytes read", kernel.c_str(),
              int(test.counters.bulk_read_bytes));
        CHECK(test.counters.bulk_arrived_bytes == uint64_t(test.params.items) * test.params.bytes, "%s: %d arrived",
              kernel.c_str(), int(test.counters.bulk_arrived_bytes));
    };
    each_seed(make, check, 10);
}

void tiles() {
    // Inside; over the end; before the beginning; beyond it all.
    const std::vector<std::vector<int32_t>> line = {{0}, {3}, {90}, {-5}, {-64}, {-63}, {100}, {99}, {2000000000}};
    boxes("line", tiled(nullptr, 2, {100}, {64}), 0, line);
    boxes("line", tiled(nullptr, 4, {100}, {256}), 128, line);
    const std::vector<std::vector<int32_t>> matrix = {{0, 0},   {8, 3},    {33, 10},   {-3, -2}, {-16, 11}, {50, -7},
                                                      {70, 12}, {-500, 2}, {4, -2000}, {69, 12}, {7, 8}};
    // Lines of 140 elements, of which 70 belong to the tensor.
    RirEmuTensorMap padded = tiled(nullptr, 2, {70, 13}, {16, 9});
    padded.strides[0] = 288;
    boxes("matrix", padded, 0, matrix);
    for (const uint32_t offset : {0u, 128u, 384u, 896u, 1024u}) {
        for (uint32_t swizzle = 0; swizzle <= 3; ++swizzle) {
            RirEmuTensorMap map = tiled(nullptr, 2, {70, 13}, {8u << swizzle, 11}, swizzle);
            map.strides[0] = 144;
            boxes("matrix", map, offset, matrix);
            map = tiled(nullptr, 4, {36, 13}, {4u << swizzle, 8}, swizzle);
            boxes("matrix", map, offset, matrix);
        }
    }
    const std::vector<std::vector<int32_t>> three = {{0, 0, 0}, {16, 2, 1}, {-4, -1, -1}, {40, 5, 3}, {8, -2, 4}};
    const std::vector<std::vector<int32_t>> four = {{0, 0, 0, 0},  {16, 2, 1, 1}, {-4, -1, -1, -1},
                                                    {40, 5, 3, 2}, {8, -2, 4, 0}, {0, 0, 0, -2}};
    const std::vector<std::vector<int32_t>> five = {
        {0, 0, 0, 0, 0}, {8, 1, 1, 1, 1}, {-1, -1, -1, -1, -1}, {40, 5, 3, 2, 1}, {0, 1, 2, 0, -1}};
    for (uint32_t swizzle = 0; swizzle <= 3; ++swizzle) {
        const uint32_t width = 8u << swizzle;
        RirEmuTensorMap map = tiled(nullptr, 2, {48, 7, 5}, {width, 3, 4}, swizzle);
        boxes("three", map, 0, three);
        // Every second and third line: a box of 7 has 4 and 3 of them.
        map.box[1] = map.box[2] = 7;
        map.element_strides[1] = 2;
        map.element_strides[2] = 3;
        boxes("three", map, 0, three);
        // The innermost dimension has no steps.
        map.element_strides[0] = 2;
        boxes("three", map, 0, three);
        boxes("four", tiled(nullptr, 2, {48, 7, 5, 3}, {width, 3, 2, 2}, swizzle), 256, four);
        boxes("five", tiled(nullptr, 2, {48, 7, 5, 3, 2}, {width, 2, 2, 2, 2}, swizzle), 0, five);
    }
}

// A convolution, and the columns of its im2col matrix: row m is output pixel m, image by image and line by line; a
// tap's columns are the channels of the input pixel that it meets.
struct Convolution {
    int n, h, w, c, r, s, pad, stride;
    int p() const { return (h + 2 * pad - r) / stride + 1; }
    int q() const { return (w + 2 * pad - s) / stride + 1; }
    int x_of(int row) const { return row % q() * stride - pad; }
    int y_of(int row) const { return row / q() % p() * stride - pad; }
    int image_of(int row) const { return row / q() / p(); }
    // The offset of an element of the matrix in the input; -1: padding, or a row that there is not.
    int64_t element(int row, int tap_x, int tap_y, int channel) const {
        const int x = x_of(row) + tap_x, y = y_of(row) + tap_y, image = image_of(row);
        if (x < 0 || x >= w || y < 0 || y >= h || image >= n || channel < 0 || channel >= c) return -1;
        return (((int64_t(image) * h + y) * w + x) * c + channel) * 2;
    }
};

void columns(const Convolution& conv, uint32_t channels, uint32_t pixels, uint32_t swizzle) {
    struct Item {
        int row, tap_x, tap_y, channel;
    };
    const int rows = conv.n * conv.p() * conv.q();
    std::vector<Item> items;
    for (int tap_y = 0; tap_y < conv.r; ++tap_y) {
        for (int tap_x = 0; tap_x < conv.s; ++tap_x) {
            // Rows that begin anywhere, the last of which run past the last image; and channels past the last.
            const int row = (tap_y * conv.s + tap_x) * 7 % rows;
            items.push_back({row, tap_x, tap_y, 0});
            items.push_back({rows - 1 - row, tap_x, tap_y, conv.c - 8});
        }
    }
    items.push_back({0, 0, 0, -8});
    items.push_back({rows - 1, conv.s - 1, conv.r - 1, 0});
    items.push_back({rows, 0, 0, 0});
    const auto make = [&] {
        CopyTest test("load_im2col");
        const auto size = [](int n) { return uint64_t(n); };
        // The corners by which the filter's own corner covers the output: CUTLASS' and the ISA's examples' way.
        const Corner lower{-conv.pad, -conv.pad}, upper{conv.pad - (conv.s - 1), conv.pad - (conv.r - 1)};
        test.maps[0] = im2col(nullptr, 2, {size(conv.c), size(conv.w), size(conv.h), size(conv.n)}, lower, upper,
                              channels, pixels, uint32_t(conv.stride), swizzle);
        // Images are all taken, whatever their step.
        test.maps[0].element_strides[3] = 2;
        for (const Item& item : items) {
            test.add({item.channel, conv.x_of(item.row), conv.y_of(item.row), conv.image_of(item.row)},
                     {item.tap_x, item.tap_y});
        }
        prepare(test, channels * pixels * 2);
        return test;
    };
    const auto check = [&](const CopyTest& test) {
        check_landed(test, channels * pixels, [&](uint32_t i, uint32_t n) {
            const Item& item = items[i];
            return conv.element(item.row + int(n / channels), item.tap_x, item.tap_y, item.channel + int(n % channels));
        });
    };
    each_seed(make, check, 5);
}

void im2col_columns() {
    const Convolution convolutions[] = {
        {3, 5, 7, 40, 3, 3, 1, 1}, {3, 5, 7, 40, 3, 3, 1, 2}, {2, 8, 6, 32, 1, 1, 0, 1}, {2, 9, 9, 64, 1, 1, 0, 2},
        {2, 6, 5, 16, 3, 3, 0, 1}, {2, 7, 7, 8, 5, 5, 2, 2},  {4, 1, 1, 16, 3, 3, 1, 1}, {1, 4, 11, 8, 2, 3, 1, 1},
        {2, 8, 8, 16, 3, 3, 1, 2}, {5, 3, 2, 24, 1, 1, 1, 3},
    };
    for (const Convolution& conv : convolutions) {
        columns(conv, 8, 1, 0);
        columns(conv, 24, 33, 0);
        columns(conv, 16, 24, 1);
        columns(conv, 32, 64, 2);
        columns(conv, 64, 128, 3);
    }
}

// Floats that are their place, so that sums of several are exact.
constexpr uint32_t COPY_OUT = 1024;  // bytes from one to the next
CopyTest stores(const std::string& kernel, const RirEmuTensorMap& map) {
    CopyTest test(kernel);
    test.maps[0] = map;
    test.of_y[0] = true;
    test.y.assign(bytes_of_tensor(map) / 4, -1.0f);
    test.params.offset = COPY_OUT;
    return test;
}
void put_float(Tensor<uint32_t>& x, uint32_t at, float value) { std::memcpy(&x[at], &value, sizeof value); }

void copies_out(const std::string& kernel, const RirEmuTensorMap& map,
                const std::vector<std::vector<int32_t>>& coordinates, bool adds) {
    const auto make = [&] {
        CopyTest test = stores(kernel, map);
        test.x.resize(coordinates.size() * COPY_OUT / 4);
        for (const std::vector<int32_t>& at : coordinates) {
            test.add({});
            std::copy(at.begin(), at.end(), &test.list[test.list.size() - 8]);
        }
        for (uint32_t i = 0; i < test.x.size(); ++i) {
            put_float(test.x, swizzled_place(i * 4, map.swizzle) / 4, float(i + 1));
        }
        return test;
    };
    const auto check = [&](const CopyTest& test) {
        std::vector<float> expected(test.y.size(), -1.0f);
        uint64_t written = 0;
        for (uint32_t item = 0; item < test.params.items; ++item) {
            each_of_box(map, &test.list[item * 8], [&](uint32_t n, int64_t offset) {
                if (offset < 0) return;
                const float value = float(item * COPY_OUT / 4 + n + 1);
                float& to = expected[size_t(offset) / 4];
                to = adds ? to + value : value;
                written += 4;
            });
        }
        for (size_t i = 0; i < expected.size(); ++i) {
            CHECK(test.y[i] == expected[i], "%s, swizzle %u, element %zu: %g, not %g", kernel.c_str(), map.swizzle, i,
                  test.y[i], expected[i]);
        }
        CHECK(test.counters.bulk_written_bytes == written, "%s: %d bytes written", kernel.c_str(),
              int(test.counters.bulk_written_bytes));
    };
    each_seed(make, check, 20);
}

void copies_out_of_tiles() {
    for (uint32_t swizzle = 0; swizzle <= 3; ++swizzle) {
        const uint32_t width = 4u << swizzle;
        // Beside each other, and partly or wholly outside.
        const std::vector<std::vector<int32_t>> matrix = {{0, 0}, {32, 0}, {33, 8}, {0, 9}, {40, 0}, {0, 15}, {3, 4}};
        RirEmuTensorMap map = tiled(nullptr, 4, {40, 13}, {width, 4}, swizzle);
        map.strides[0] = 192;
        copies_out("store_matrix", map, {matrix.begin(), matrix.end() - 1}, false);
        copies_out("add_matrix", map, matrix, true);
        map.box[1] = 7;
        map.element_strides[1] = 2;
        // Every second line, 4 a box.
        copies_out("store_matrix", map, {{0, 0}, {0, 1}, {32, 8}}, false);
        copies_out("store_four", tiled(nullptr, 4, {40, 5, 4, 3}, {width, 2, 4, 1}, swizzle),
                   {{0, 0, 0, 0}, {0, 2, 0, 1}, {38, 4, 2, 2}, {0, 0, 0, 3}, {0, 0, 4, 0}}, false);
    }
    // Blocks that add to the same place.
    const RirEmuTensorMap map = tiled(nullptr, 4, {8, 8}, {8, 8});
    const auto make = [&] {
        CopyTest test = stores("add_matrix", map);
        test.grid[0] = 5;
        test.x.resize(COPY_OUT / 4);
        for (uint32_t i = 0; i < 64; ++i) put_float(test.x, i, float(i));
        test.add({0, 0});
        return test;
    };
    each_seed(make, [](const CopyTest& test) {
        for (uint32_t i = 0; i < 64; ++i) {
            CHECK(test.y[i] == 5.0f * float(i) - 1.0f, "sum of blocks: %g", test.y[i]);
        }
    });
}

}  // namespace

void bulk_copies() {
    tiles();
    im2col_columns();
    copies_out_of_tiles();
}
