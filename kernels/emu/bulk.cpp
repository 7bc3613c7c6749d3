#include "bulk.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

#include "machine.hpp"

namespace rir::emu {
namespace {

constexpr int POISON = 0xff;
constexpr uint32_t CHUNK = 16;
constexpr size_t MAP_ALIGNMENT = 64, SHARED_ALIGNMENT = 128;

uint32_t box_bytes(const EncodedMap& map) {
    if (map.im2col) return uint32_t(map.channels) * map.pixels * map.element_bytes;
    uint32_t bytes = map.element_bytes;
    for (uint32_t d = 0; d < map.rank; ++d) bytes *= (map.box[d] + map.steps[d] - 1u) / map.steps[d];
    return bytes;
}

uint64_t reach(const EncodedMap& map) {
    uint64_t bytes = uint64_t(map.dims[0]) * map.element_bytes;
    for (uint32_t d = 1; d < map.rank; ++d) bytes += uint64_t(map.dims[d] - 1) * map.strides[d - 1];
    return bytes;
}

}  // namespace

void BulkCopies::begin_cluster() {
    loads_.clear();
    stores_.clear();
}

// What both directions check; `what` is "copy" or "store".
const EncodedMap& BulkCopies::map_of(const char* what, const void* map, uint32_t rank, bool im2col, const void* shared,
                                     const void* site) const {
    const Thread& thread = *running;
    const uintptr_t offset = uintptr_t(map) - uintptr_t(machine_.params);
    if (offset + 128 > machine_.launch->params_bytes) {
        fault(site, "a tensor map that is not in the kernel's parameters, where it has to stay (__grid_constant__)");
    }
    const auto& encoded = *static_cast<const EncodedMap*>(map);
    if (uintptr_t(map) % MAP_ALIGNMENT != 0) fault(site, "a tensor map that is not aligned to 64 bytes");
    if (encoded.magic != EncodedMap::MAGIC) fault(site, "a tensor map that nobody encoded");
    if (encoded.rank != rank || bool(encoded.im2col) != im2col) {
        fault(site, "a bulk %s of %u dimensions, %s, by a tensor map of %u, %s", what, rank,
              im2col ? "im2col" : "tiled", encoded.rank, encoded.im2col ? "im2col" : "tiled");
    }
    const uint32_t line = (im2col ? encoded.channels : encoded.box[0]) * encoded.element_bytes;
    if (encoded.swizzle > 0 && line != CHUNK << encoded.swizzle) {
        fault(site,
              "a bulk %s of a box %u bytes wide, whose swizzle is of %u: the manuals do not say how its lines lie",
              what, line, CHUNK << encoded.swizzle);
    }
    if (!thread.arena->near(uintptr_t(shared))) fault(site, "a bulk %s of what is not the block's shared memory", what);
    if ((uintptr_t(shared) - thread.arena->begin()) % SHARED_ALIGNMENT != 0) {
        fault(site, "a bulk %s of shared memory that is not aligned to 128 bytes", what);
    }
    if (!machine_.follows(thread)) fault(site, "a bulk %s before griddepcontrol.wait", what);
    if (!machine_.global.holds(encoded.address, reach(encoded))) {
        fault(site, "a bulk %s by a tensor map of memory that the launch does not list", what);
    }
    return encoded;
}

// A line of a box: `channels` elements from `channel` on, of a place that is in the tensor or is not.
void BulkCopies::line(const EncodedMap& map, bool inside, uintptr_t global, int64_t channel, uint32_t channels,
                      uintptr_t shared, std::vector<Piece>& pieces) const {
    const uint32_t size = map.element_bytes, of_chunk = CHUNK / size;
    for (uint32_t c = 0; c < channels; c += of_chunk, shared += CHUNK) {
        const int64_t begin = std::max<int64_t>(channel + c, 0);
        const int64_t end = std::min<int64_t>(channel + std::min(c + of_chunk, channels), map.dims[0]);
        Piece piece{swizzled(shared, map.swizzle), 0, 0, 0};
        if (inside && begin < end) {
            piece.global = global + uintptr_t(begin) * size;
            piece.first = uint8_t((begin - channel - c) * size);
            piece.bytes = uint8_t((end - begin) * size);
        }
        pieces.push_back(piece);
    }
}

void BulkCopies::box(const EncodedMap& map, const int32_t* at, uintptr_t shared, std::vector<Piece>& pieces) const {
    uint32_t extents[5] = {1, 1, 1, 1, 1};
    for (uint32_t d = 1; d < map.rank; ++d) extents[d] = (map.box[d] + map.steps[d] - 1u) / map.steps[d];
    uint32_t place[5] = {};
    for (bool more = true; more; shared += uint32_t(map.box[0]) * map.element_bytes) {
        bool inside = true;
        uintptr_t global = map.address;
        for (uint32_t d = 1; d < map.rank; ++d) {
            const int64_t x = int64_t(at[d]) + int64_t(place[d]) * map.steps[d];
            inside &= x >= 0 && x < map.dims[d];
            global += uintptr_t(x) * map.strides[d - 1];
        }
        line(map, inside, global, at[0], map.box[0], shared, pieces);
        more = false;
        for (uint32_t d = 1; d < map.rank && !more; ++d) {
            more = ++place[d] < extents[d];
            if (!more) place[d] = 0;
        }
    }
}

// PTX ISA, im2col mode: from the base pixel on along W, H and N within the bounding box, whose upper corner counts from
// the last pixel; the offsets of the taps move what is read, not the box.
void BulkCopies::column(const EncodedMap& map, const int32_t* at, const uint16_t* taps, uintptr_t shared,
                        std::vector<Piece>& pieces) const {
    const uint32_t spatial = map.rank - 2;
    int64_t place[4];
    std::copy_n(at + 1, map.rank - 1, place);
    for (uint32_t pixel = 0; pixel < map.pixels; ++pixel, shared += uint32_t(map.channels) * map.element_bytes) {
        bool inside = true;
        uintptr_t global = map.address;
        for (uint32_t d = 0; d <= spatial; ++d) {
            const int64_t x = place[d] + (d < spatial ? taps[d] : 0);
            inside &= x >= 0 && x < map.dims[d + 1];
            global += uintptr_t(x) * map.strides[d];
        }
        line(map, inside, global, at[0], map.channels, shared, pieces);
        for (uint32_t d = 0; d <= spatial; ++d) {
            place[d] += map.steps[d + 1];
            if (d == spatial || place[d] <= int64_t(map.dims[d + 1]) - 1 + map.upper[d]) break;
            place[d] = map.lower[d];
        }
    }
}

void BulkCopies::load(void* to, const void* map, void* barrier, const int32_t* at, uint32_t rank, const uint16_t* taps,
                      uint16_t blocks, const void* site) {
    Thread& thread = *running;
    const EncodedMap& encoded = map_of("copy", map, rank, taps != nullptr, to, site);
    const uintptr_t offset = uintptr_t(to) - thread.arena->begin();
    for (uint32_t d = 0; taps && d < rank - 2; ++d) {
        // By the number of dimensions: 16, 8 and 5 bits.
        const uint32_t most = (1u << (rank == 3 ? 16 : rank == 4 ? 8 : 5)) - 1;
        if (taps[d] > most) fault(site, "an im2col copy with an offset of %u, where there are 0 to %u", taps[d], most);
        const int64_t last = int64_t(encoded.dims[d + 1]) - 1 + encoded.upper[d];
        const bool on_grid = (at[d + 1] - encoded.lower[d]) % encoded.steps[d + 1] == 0;
        if (at[d + 1] < encoded.lower[d] || at[d + 1] > last || !on_grid) {
            fault(site, "an im2col copy from base pixel %d of dimension %u, where the bounding box is %d to %d by %u",
                  at[d + 1], d + 1, encoded.lower[d], int(last), encoded.steps[d + 1]);
        }
    }
    const uint16_t own = uint16_t(1u << thread.block);
    const uint32_t bytes = box_bytes(encoded);
    const bool counts = machine_.counters.wanted();
    bool first = true;
    for (uint16_t left = blocks == 0 ? own : blocks; left != 0; left &= left - 1) {
        const uint32_t block = uint32_t(std::countr_zero(left));
        if (block >= machine_.cluster.blocks()) fault(site, "a multicast to block %u of a smaller cluster", block);
        MBarrier& completes_on = machine_.barriers.of_copy(barrier, block, site);
        Load load{block, &completes_on, bytes, machine_.clocks.tick(), machine_.cluster.random().below(2) == 0, {}};
        const uintptr_t shared = machine_.arenas[block]->begin() + offset;
        taps ? column(encoded, at, taps, shared, load.pieces) : box(encoded, at, shared, load.pieces);
        loads_.push_back(std::move(load));
        const Actor actor{completes_on.agent, loads_.back().stamp, site, thread.rank};
        for (const Piece& piece : loads_.back().pieces) {
            machine_.touch_shared_by(actor, block, piece.shared, CHUNK, Access::Write);
            std::memset(reinterpret_cast<void*>(piece.shared), POISON, CHUNK);
            if (piece.bytes == 0 || !first) continue;
            machine_.touch_global_by(actor, piece.global, piece.bytes, Access::Read);
            if (counts) machine_.counters.bulk_read(piece.bytes);
        }
        if (counts) machine_.counters.bulk_arrived(bytes);
        first = false;
    }
}

void BulkCopies::end(size_t index) {
    Load load = std::move(loads_[index]);
    loads_[index] = std::move(loads_.back());
    loads_.pop_back();
    for (const Piece& piece : load.pieces) {
        auto* to = reinterpret_cast<unsigned char*>(piece.shared);
        std::memset(to, 0, CHUNK);
        if (piece.bytes > 0) std::memcpy(to + piece.first, reinterpret_cast<const void*>(piece.global), piece.bytes);
    }
    // Who hears of a copy hears of all that started before it on its barrier: so of none past one under way.
    MBarrier& barrier = *load.barrier;
    barrier.latest = std::max(barrier.latest, load.stamp);
    Stamp heard = barrier.latest;
    for (const Load& other : loads_) {
        if (other.barrier == &barrier) heard = std::min(heard, other.stamp - 1);
    }
    machine_.barriers.complete_bytes(barrier, load.bytes, heard);
}

void BulkCopies::end_some(Random& random) {
    const size_t one = random.below(uint32_t(loads_.size()));
    if (!loads_[one].lazy && random.below(4) == 0) end(one);
}

bool BulkCopies::end_one(Random& random) {
    if (loads_.empty()) return false;
    end(random.below(uint32_t(loads_.size())));
    return true;
}

BulkCopies::Stores* BulkCopies::find_stores(const Thread& thread) {
    for (Stores& stores : stores_) {
        if (stores.thread == thread.rank) return &stores;
    }
    return nullptr;
}

void BulkCopies::take(Store& store) {
    store.taken.resize(store.pieces.size() * CHUNK);
    for (size_t i = 0; i < store.pieces.size(); ++i) {
        std::memcpy(&store.taken[i * CHUNK], reinterpret_cast<const void*>(store.pieces[i].shared), CHUNK);
    }
}

void BulkCopies::put(const Store& store) {
    for (size_t i = 0; i < store.pieces.size(); ++i) {
        const Piece& piece = store.pieces[i];
        const unsigned char* from = &store.taken[i * CHUNK + piece.first];
        if (piece.bytes == 0) continue;
        if (!store.add) {
            std::memcpy(reinterpret_cast<void*>(piece.global), from, piece.bytes);
            continue;
        }
        auto* to = reinterpret_cast<float*>(piece.global);
        for (uint32_t i = 0; i < piece.bytes / sizeof(float); ++i) {
            float added;
            std::memcpy(&added, from + i * sizeof(float), sizeof added);
            to[i] += added;
        }
    }
}

void BulkCopies::store(const void* map, const void* from, const int32_t* at, uint32_t rank, bool add,
                       const void* site) {
    Thread& thread = *running;
    const EncodedMap& encoded = map_of("store", map, rank, false, from, site);
    for (uint32_t d = 0; d < rank; ++d) {
        if (at[d] < 0) fault(site, "a bulk store from coordinate %d of dimension %u: none may be negative", at[d], d);
    }
    if (add && encoded.element_bytes != sizeof(float)) fault(site, "a bulk addition of other numbers than f32");
    Stores* found = find_stores(thread);
    if (!found) {
        const uint32_t reader = machine_.agents.add("a bulk store");
        stores_.push_back({thread.rank, reader, machine_.agents.add("a bulk store"), 0, {}});
        found = &stores_.back();
    }
    Stores& stores = *found;
    stores.under_way.push_back({{}, stores.committed, add, machine_.cluster.random().below(4) == 0, {}, 0});
    Store& store = stores.under_way.back();
    box(encoded, at, uintptr_t(from), store.pieces);
    store.stamp = machine_.clocks.tick();
    const Actor reader{stores.reader, store.stamp, site, thread.rank};
    const Actor writer{stores.writer, store.stamp, site, thread.rank};
    for (const Piece& piece : store.pieces) {
        machine_.touch_shared_by(reader, thread.block, piece.shared, CHUNK, Access::Read);
        if (piece.bytes == 0) continue;
        // Additions may meet: each is atomic.
        machine_.touch_global_by(writer, piece.global, piece.bytes, add ? Access::Atomic : Access::Write);
        if (machine_.counters.wanted()) machine_.counters.bulk_written(piece.bytes);
    }
    if (store.read_early) take(store);
}

// Groups of a thread that has stored nothing yet are empty, and over.
void BulkCopies::commit() {
    if (Stores* stores = find_stores(*running)) ++stores->committed;
}

void BulkCopies::wait(uint32_t groups, bool read) {
    Stores* found = find_stores(*running);
    if (!found) return;
    Stores& stores = *found;
    size_t done = 0;
    for (Store& store : stores.under_way) {
        if (store.group + groups >= stores.committed) break;
        if (store.taken.empty()) take(store);
        machine_.clocks.learn(running->rank, stores.reader, store.stamp);
        if (!read) {
            put(store);
            machine_.clocks.learn(running->rank, stores.writer, store.stamp);
            ++done;
        }
    }
    stores.under_way.erase(stores.under_way.begin(), stores.under_way.begin() + ptrdiff_t(done));
}

void BulkCopies::check_exit(const Thread& thread, bool last_of_block) {
    for (Stores& stores : stores_) {
        if (stores.thread != thread.rank) continue;
        for (const Store& store : stores.under_way) {
            if (store.taken.empty() || !machine_.clocks.before(store.stamp, stores.reader, thread.rank)) {
                fault(nullptr, "exits while a bulk store still reads shared memory: cp.async.bulk.wait_group.read");
            }
            put(store);
        }
        stores.under_way.clear();
    }
    if (!last_of_block) return;
    for (const Load& load : loads_) {
        if (load.block == thread.block) fault(nullptr, "the block ends while a bulk copy to it is under way");
    }
}

}  // namespace rir::emu
