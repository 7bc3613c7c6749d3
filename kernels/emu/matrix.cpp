// Which lane holds which element, by the tables of PTX ISA (ldmatrix, stmatrix, mma.m16n8k16). Of a pair in a register
// the first element is the lower half.
#include "matrix.hpp"

#include <cstring>

#include "machine.hpp"
#include "ptx.hpp"

namespace rir::emu {
namespace {

constexpr uint32_t ROWS_OF_MATRIX = 8, ROW_BYTES = 16;

float low(uint32_t pair) { return __uint_as_float(pair << 16); }
float high(uint32_t pair) { return __uint_as_float(pair & 0xffff0000u); }

const MovedMatrices& moved(const Thread& lane) { return *static_cast<MovedMatrices*>(lane.call.matrices); }
const MultipliedMatrices& multiplied(const Thread& lane) {
    return *static_cast<MultipliedMatrices*>(lane.call.matrices);
}

// A lane, other than the one that names it, that gets a part of row r: ISA promises nothing about memory among lanes,
// so that the bytes have to be ordered before that one too.
uint32_t other_reader(uint32_t named_by, uint32_t r, bool transposed) {
    const uint32_t first = transposed ? r / 2 : r * 4, second = first + (transposed ? 4 : 1);
    return first == named_by ? second : first;
}

void check_row(Machine& machine, Thread* const* lanes, uint32_t lane, Primitive primitive) {
    const Call& call = lanes[lane]->call;
    const uintptr_t row = moved(*lanes[lane]).row;
    running = lanes[lane];
    if (!lanes[lane]->arena->near(row)) {
        fault(call.site, "%s of a row that is not in shared memory",
              primitive == Primitive::StoreMatrices ? "stmatrix" : "ldmatrix");
    }
    if (primitive == Primitive::StoreMatrices) {
        machine.touch(*lanes[lane], row, ROW_BYTES, Access::Write, call.site);
        return;
    }
    machine.touch(*lanes[lane], row, ROW_BYTES, Access::Read, call.site);
    const bool transposed = primitive == Primitive::LoadMatricesTransposed;
    Thread& reader = *lanes[other_reader(lane, lane % ROWS_OF_MATRIX, transposed)];
    running = &reader;
    machine.share(reader, row, ROW_BYTES, Access::Read, reader.call.site);
}

}  // namespace

void move_matrices(Machine& machine, Thread* const* lanes) {
    const Primitive primitive = lanes[0]->call.primitive;
    const uint32_t count = lanes[0]->call.bytes;
    for (uint32_t lane = 0; lane < count * ROWS_OF_MATRIX; ++lane) check_row(machine, lanes, lane, primitive);

    for (uint32_t matrix = 0; matrix < count; ++matrix) {
        const auto element = [&](uint32_t row, uint32_t column) {
            const uintptr_t begin = moved(*lanes[matrix * ROWS_OF_MATRIX + row]).row;
            return reinterpret_cast<uint16_t*>(begin) + column;
        };
        for (uint32_t lane = 0; lane < LANES; ++lane) {
            uint32_t& pair = moved(*lanes[lane]).registers[matrix];
            const uint32_t line = lane / 4, place = lane % 4 * 2;
            if (primitive == Primitive::StoreMatrices) {
                *element(line, place) = uint16_t(pair);
                *element(line, place + 1) = uint16_t(pair >> 16);
            } else if (primitive == Primitive::LoadMatrices) {
                pair = *element(line, place) | uint32_t(*element(line, place + 1)) << 16;
            } else {
                pair = *element(place, line) | uint32_t(*element(place + 1, line)) << 16;
            }
        }
    }
}

// The ISA leaves the order of the 16 products, and their rounding, open. Here they are added one by one in f32, and C
// last.
void multiply_matrices(Thread* const* lanes) {
    float a[16][16], b[16][8], d[16][8] = {};
    for (uint32_t lane = 0; lane < LANES; ++lane) {
        const MultipliedMatrices& of = multiplied(*lanes[lane]);
        const uint32_t group = lane / 4, place = lane % 4 * 2;
        for (uint32_t i = 0; i < 4; ++i) {
            const uint32_t row = group + i % 2 * 8, depth = place + i / 2 * 8;
            a[row][depth] = low(of.a[i]);
            a[row][depth + 1] = high(of.a[i]);
        }
        for (uint32_t i = 0; i < 2; ++i) {
            b[place + i * 8][group] = low(of.b[i]);
            b[place + i * 8 + 1][group] = high(of.b[i]);
        }
    }
    for (uint32_t row = 0; row < 16; ++row) {
        for (uint32_t depth = 0; depth < 16; ++depth) {
            for (uint32_t column = 0; column < 8; ++column) d[row][column] += a[row][depth] * b[depth][column];
        }
    }
    for (uint32_t lane = 0; lane < LANES; ++lane) {
        for (uint32_t i = 0; i < 4; ++i) {
            multiplied(*lanes[lane]).sums[i] += d[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2];
        }
    }
}

namespace {

void call(Primitive primitive, unsigned count, void* operands, const char* file, int line, const void* site) {
    Call call{primitive, uint8_t(count), file, line, site, UINT32_MAX};
    call.matrices = operands;
    running->machine->cluster.at_warp(call);
}

}  // namespace

void load_matrices(uint32_t* to, unsigned count, bool transposed, const void* row, const char* file, int line) {
    MovedMatrices operands{uintptr_t(row), to};
    const auto primitive = transposed ? Primitive::LoadMatricesTransposed : Primitive::LoadMatrices;
    call(primitive, count, &operands, file, line, __builtin_return_address(0));
}

void store_matrices(void* row, unsigned count, const uint32_t* from, const char* file, int line) {
    uint32_t registers[4];
    std::memcpy(registers, from, count * sizeof *from);
    MovedMatrices operands{uintptr_t(row), registers};
    call(Primitive::StoreMatrices, count, &operands, file, line, __builtin_return_address(0));
}

void multiply_matrices_bf16(float* sums, const uint32_t* a, const uint32_t* b, const char* file, int line) {
    MultipliedMatrices operands{sums, a, b};
    call(Primitive::MultiplyMatrices, 1, &operands, file, line, __builtin_return_address(0));
}

}  // namespace rir::emu
