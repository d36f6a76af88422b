// DRAM behind an AXI4 port: one beat per cycle and direction, fixed latencies, several bursts
// outstanding, bursts of one ID in order. Memory belongs to the caller and is mapped at addresses;
// what lies elsewhere answers DECERR. Written data reaches memory with its response, so that a
// program that reads too early is seen to do so.
#pragma once

#include <cstdint>
#include <cstring>
#include <deque>
#include <string>
#include <vector>

namespace dram {

enum Response : uint8_t { OKAY = 0, SLVERR = 2, DECERR = 3 };
enum Channel { AR, R, AW, W, B, CHANNELS };

// xorshift64* (Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled").
class Random {
  public:
    void seed(uint64_t value) { state_ = value * 0x9E3779B97F4A7C15ull | 1; }
    uint32_t next() {
        state_ ^= state_ >> 12;
        state_ ^= state_ << 25;
        state_ ^= state_ >> 27;
        return uint32_t((state_ * 0x2545F4914F6CDD1Dull) >> 32);
    }

  private:
    uint64_t state_ = 1;
};

struct Timing {
    uint32_t read_latency, write_latency;          // cycles
    uint32_t reads_outstanding, writes_outstanding;  // bursts
};

struct Stalls {
    uint64_t seed;
    uint32_t per_1024[CHANNELS];  // probability that a channel pauses in a cycle
    uint32_t jitter;              // up to that many cycles more latency for each burst
};

struct Statistics {
    uint64_t read_bursts, read_beats, write_bursts, write_beats;
};

struct Window {
    uint64_t base, size;
    uint8_t *memory;
};

struct Fault {
    uint64_t first, last;
    uint32_t response, reads, writes;
};

struct Burst {
    uint64_t address = 0, due = 0;
    uint32_t id = 0, beats = 0, done = 0;
    uint8_t response = OKAY;
    std::vector<uint8_t> data, strobe;  // of writes
};

// An address channel's payload; what a master must hold while it waits.
struct Request {
    uint64_t address;
    uint32_t id, length, size, burst;
    bool operator==(const Request &) const = default;
};

template <int BYTES>
struct Beat {
    uint8_t data[BYTES];
    uint32_t strobe, last;
    bool operator==(const Beat &) const = default;
};

template <int BYTES>
class Dram {
  public:
    Timing timing{40, 20, 8, 8};
    std::vector<Fault> faults;
    Statistics statistics{};
    std::string violation;  // of the protocol, by the master; empty while there is none

    void stalls(const Stalls &stalls) {
        stalls_ = stalls;
        random_.seed(stalls.seed);
        stalling_ = stalls.jitter != 0;
        for (uint32_t p : stalls.per_1024) stalling_ |= p != 0;
    }

    void map(const Window &window) { windows_.push_back(window); }

    void unmap(uint64_t base) {
        std::erase_if(windows_, [&](const Window &w) { return w.base == base; });
        last_ = 0;
    }

    bool idle() const { return reads_.empty() && open_.empty() && answers_.empty(); }

    // Set the slave's outputs for this cycle.
    template <class Dut>
    void drive(Dut &dut) {
        dut.m_axi_arready = reads_.size() < timing.reads_outstanding && !pause(AR);
        dut.m_axi_awready =
            open_.size() + answers_.size() < timing.writes_outstanding && !pause(AW);
        dut.m_axi_wready = !open_.empty() && !pause(W);
        if (!dut.m_axi_rvalid && !reads_.empty() && pick_read() && !pause(R)) present(dut);
        if (!dut.m_axi_bvalid && !answers_.empty() && answers_.front().due <= cycle_ &&
            !pause(B)) {
            answer(dut);
        }
    }

    // Look at the handshakes of this cycle, after the master's outputs have settled.
    template <class Dut>
    void sample(Dut &dut) {
        if (dut.m_axi_arvalid | ar_waits_) read_request(dut);
        if (dut.m_axi_awvalid | aw_waits_) write_request(dut);
        if (dut.m_axi_wvalid | w_waits_) write_data(dut);
        r_taken_ = dut.m_axi_rvalid && dut.m_axi_rready;
        b_taken_ = dut.m_axi_bvalid && dut.m_axi_bready;
        ++cycle_;
    }

    // After the clock edge: withdraw what was taken.
    template <class Dut>
    void finish(Dut &dut) {
        if (r_taken_) {
            dut.m_axi_rvalid = 0;
            ++statistics.read_beats;
            if (++reads_[serving_].done == reads_[serving_].beats) {
                reads_.erase(reads_.begin() + serving_);
                serving_ = NONE;
            }
            r_taken_ = false;
        }
        if (b_taken_) {
            dut.m_axi_bvalid = 0;
            answers_.pop_front();
            b_taken_ = false;
        }
    }

  private:
    static constexpr size_t NONE = ~size_t(0);
    Stalls stalls_{};
    bool stalling_ = false;
    Random random_;
    std::vector<Window> windows_;
    size_t last_ = 0;
    uint64_t cycle_ = 0;
    std::deque<Burst> reads_, open_, answers_;
    size_t serving_ = NONE;
    bool r_taken_ = false, b_taken_ = false;
    bool ar_waits_ = false, aw_waits_ = false, w_waits_ = false;
    Request ar_{}, aw_{};
    Beat<BYTES> w_{};

    bool pause(Channel channel) {
        return stalling_ && (random_.next() & 1023) < stalls_.per_1024[channel];
    }

    uint64_t due(uint32_t latency) {
        return cycle_ + latency + (stalls_.jitter ? random_.next() % (stalls_.jitter + 1) : 0);
    }

    void violate(const std::string &what) {
        if (violation.empty()) violation = "cycle " + std::to_string(cycle_) + ": " + what;
    }

    uint8_t *find(uint64_t address) {
        for (size_t n = windows_.size(), i = 0; i < n; ++i) {
            const Window &w = windows_[(last_ + i) % n];
            if (address - w.base < w.size && w.size - (address - w.base) >= BYTES) {
                last_ = (last_ + i) % n;
                return w.memory + (address - w.base);
            }
        }
        return nullptr;
    }

    uint8_t check(uint64_t address, bool write) {
        for (const Fault &f : faults)
            if ((write ? f.writes : f.reads) && address + BYTES > f.first && address <= f.last)
                return uint8_t(f.response);
        return find(address) ? OKAY : DECERR;
    }

    // Which burst sends its next beat. Bursts of different IDs may overtake each other, which
    // happens under random stalls only: memory controllers of the boards we know do not reorder.
    bool pick_read() {
        if (serving_ == NONE) {
            size_t choice = 0;
            if (stalling_ && reads_.size() > 1) {
                choice = random_.next() % reads_.size();
                for (size_t i = 0; i < choice; ++i)
                    if (reads_[i].id == reads_[choice].id) choice = i;
            }
            serving_ = choice;
        }
        if (reads_[serving_].due <= cycle_) return true;
        serving_ = NONE;
        return false;
    }

    template <class Dut>
    void present(Dut &dut) {
        Burst &burst = reads_[serving_];
        uint64_t address = burst.address + uint64_t(burst.done) * BYTES;
        uint8_t response = check(address, false);
        if (response == OKAY)
            std::memcpy(&dut.m_axi_rdata, find(address), BYTES);
        else
            std::memset(&dut.m_axi_rdata, 0xA5, BYTES);
        dut.m_axi_rid = burst.id;
        dut.m_axi_rresp = response;
        dut.m_axi_rlast = burst.done + 1 == burst.beats;
        dut.m_axi_rvalid = 1;
    }

    template <class Dut>
    void answer(Dut &dut) {
        Burst &burst = answers_.front();
        for (uint32_t beat = 0; beat < burst.beats; ++beat) {
            uint64_t address = burst.address + uint64_t(beat) * BYTES;
            uint8_t response = check(address, true);
            if (response > burst.response) burst.response = response;
            if (response != OKAY) continue;
            uint8_t *target = find(address);
            const uint8_t *data = &burst.data[size_t(beat) * BYTES];
            const uint8_t *strobe = &burst.strobe[size_t(beat) * BYTES];
            for (int i = 0; i < BYTES; ++i)
                if (strobe[i]) target[i] = data[i];
        }
        dut.m_axi_bid = burst.id;
        dut.m_axi_bresp = burst.response;
        dut.m_axi_bvalid = 1;
    }

    void check_request(const Request &r, const char *channel) {
        uint32_t bytes = (r.length + 1) * BYTES;
        std::string where = std::string(channel) + " of " + std::to_string(r.length + 1) +
                            " beats at " + std::to_string(r.address);
        if (r.burst != 1) violate(where + " is not an INCR burst");
        if ((1u << r.size) != BYTES) violate(where + " is narrower than the bus");
        if (r.address % BYTES) violate(where + " is not aligned to beats");
        if ((r.address & 4095) + bytes > 4096) violate(where + " crosses a 4 KiB boundary");
    }

    template <class T>
    void hold(const char *channel, bool valid, const T &now, const T &before, bool waited) {
        if (waited && !valid) violate(std::string(channel) + " withdrew VALID before READY");
        if (waited && valid && !(now == before))
            violate(std::string(channel) + " changed its payload before READY");
    }

    template <class Dut>
    void read_request(Dut &dut) {
        Request now{dut.m_axi_araddr, dut.m_axi_arid, dut.m_axi_arlen, dut.m_axi_arsize,
                    dut.m_axi_arburst};
        hold("AR", dut.m_axi_arvalid, now, ar_, ar_waits_);
        ar_ = now;
        ar_waits_ = dut.m_axi_arvalid && !dut.m_axi_arready;
        if (!dut.m_axi_arvalid || ar_waits_) return;
        check_request(now, "AR");
        Burst burst;
        burst.address = now.address;
        burst.id = now.id;
        burst.beats = now.length + 1;
        burst.due = due(timing.read_latency);
        reads_.push_back(std::move(burst));
        ++statistics.read_bursts;
    }

    template <class Dut>
    void write_request(Dut &dut) {
        Request now{dut.m_axi_awaddr, dut.m_axi_awid, dut.m_axi_awlen, dut.m_axi_awsize,
                    dut.m_axi_awburst};
        hold("AW", dut.m_axi_awvalid, now, aw_, aw_waits_);
        aw_ = now;
        aw_waits_ = dut.m_axi_awvalid && !dut.m_axi_awready;
        if (!dut.m_axi_awvalid || aw_waits_) return;
        check_request(now, "AW");
        Burst burst;
        burst.address = now.address;
        burst.id = now.id;
        burst.beats = now.length + 1;
        burst.data.resize(size_t(burst.beats) * BYTES);
        burst.strobe.resize(size_t(burst.beats) * BYTES);
        open_.push_back(std::move(burst));
        ++statistics.write_bursts;
    }

    template <class Dut>
    void write_data(Dut &dut) {
        Beat<BYTES> now;
        std::memcpy(now.data, &dut.m_axi_wdata, BYTES);
        now.strobe = dut.m_axi_wstrb;
        now.last = dut.m_axi_wlast;
        hold("W", dut.m_axi_wvalid, now, w_, w_waits_);
        w_ = now;
        w_waits_ = dut.m_axi_wvalid && !dut.m_axi_wready;
        // The slave was ready for the burst that was open when the cycle began.
        if (!dut.m_axi_wvalid || w_waits_) return;
        Burst &burst = open_.front();
        std::memcpy(&burst.data[size_t(burst.done) * BYTES], now.data, BYTES);
        for (int i = 0; i < BYTES; ++i)
            burst.strobe[size_t(burst.done) * BYTES + i] = (now.strobe >> i) & 1;
        ++statistics.write_beats;
        ++burst.done;
        if (bool(now.last) != (burst.done == burst.beats))
            violate("WLAST is " + std::to_string(now.last) + " at beat " +
                    std::to_string(burst.done) + " of " + std::to_string(burst.beats));
        if (burst.done < burst.beats) return;
        burst.due = due(timing.write_latency);
        answers_.push_back(std::move(burst));
        open_.pop_front();
    }
};

}  // namespace dram
