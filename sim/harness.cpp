// C interface of a simulated accelerator: clock, registers over AXI4-Lite, DRAM over AXI4.
// Everything that happens per clock cycle happens here.

#include "Vtop.h"
#include "dram.h"
#include "verilated.h"

#if VM_TRACE
#include "verilated_vcd_c.h"
#endif

#include <memory>
#include <string>

double sc_time_stamp() { return 0; }

namespace {

constexpr int BYTES = sizeof(Vtop::m_axi_rdata);
constexpr int RESET_CYCLES = 16;
constexpr int REGISTER_TIMEOUT = 4096;  // cycles

enum Outcome { ELAPSED = 0, INTERRUPT = 1, VIOLATION = 2 };

class Simulation {
  public:
    dram::Dram<BYTES> memory;
    uint64_t cycle = 0;

    Simulation() : context_(new VerilatedContext), top_(new Vtop(context_.get(), "top")) {
        top_->aresetn = 0;
        for (int i = 0; i < RESET_CYCLES; ++i) tick();
        top_->aresetn = 1;
        tick();
    }

    ~Simulation() {
        trace_close();
        top_->final();
    }

    void tick() {
        Vtop &dut = *top_;
        memory.drive(dut);
        dut.aclk = 0;
        dut.eval();
        dump(0);
        memory.sample(dut);
        interrupt_ = dut.__SYM__interrupt;  // Verilator keeps `interrupt` for itself
        aw_taken_ = dut.s_axi_awvalid && dut.s_axi_awready;
        w_taken_ = dut.s_axi_wvalid && dut.s_axi_wready;
        ar_taken_ = dut.s_axi_arvalid && dut.s_axi_arready;
        b_valid_ = dut.s_axi_bvalid;
        r_valid_ = dut.s_axi_rvalid;
        r_data_ = dut.s_axi_rdata;
        response_ = b_valid_ ? dut.s_axi_bresp : dut.s_axi_rresp;
        dut.aclk = 1;
        dut.eval();
        dump(1);
        memory.finish(dut);
        ++cycle;
    }

    int run(uint64_t cycles) {
        for (uint64_t i = 0; i < cycles; ++i) {
            tick();
            if (!memory.violation.empty()) return VIOLATION;
            if (interrupt_) return INTERRUPT;
        }
        return ELAPSED;
    }

    // AXI responses of register accesses; -1 when there is none.
    int write(uint32_t address, uint32_t value) {
        Vtop &dut = *top_;
        dut.s_axi_awaddr = address;
        dut.s_axi_wdata = value;
        dut.s_axi_wstrb = 15;
        dut.s_axi_awvalid = dut.s_axi_wvalid = dut.s_axi_bready = 1;
        int result = -1;
        for (int i = 0; i < REGISTER_TIMEOUT && result < 0; ++i) {
            tick();
            if (aw_taken_) dut.s_axi_awvalid = 0;
            if (w_taken_) dut.s_axi_wvalid = 0;
            if (b_valid_) result = response_;
        }
        dut.s_axi_awvalid = dut.s_axi_wvalid = dut.s_axi_bready = 0;
        return result;
    }

    int read(uint32_t address, uint32_t *value) {
        Vtop &dut = *top_;
        dut.s_axi_araddr = address;
        dut.s_axi_arvalid = dut.s_axi_rready = 1;
        int result = -1;
        for (int i = 0; i < REGISTER_TIMEOUT && result < 0; ++i) {
            tick();
            if (ar_taken_) dut.s_axi_arvalid = 0;
            if (r_valid_) {
                *value = r_data_;
                result = response_;
            }
        }
        dut.s_axi_arvalid = dut.s_axi_rready = 0;
        return result;
    }

    bool trace_open(const char *path) {
#if VM_TRACE
        context_->traceEverOn(true);
        trace_.reset(new VerilatedVcdC);
        top_->trace(trace_.get(), 99);
        trace_->open(path);
        return trace_->isOpen();
#else
        return false;
#endif
    }

    void trace_close() {
#if VM_TRACE
        if (trace_) trace_->close();
        trace_.reset();
#endif
    }

  private:
    std::unique_ptr<VerilatedContext> context_;
    std::unique_ptr<Vtop> top_;
    bool interrupt_ = false, aw_taken_ = false, w_taken_ = false, ar_taken_ = false;
    bool b_valid_ = false, r_valid_ = false;
    uint32_t r_data_ = 0;
    int response_ = 0;
#if VM_TRACE
    std::unique_ptr<VerilatedVcdC> trace_;
#endif

    void dump(int phase) {
#if VM_TRACE
        if (trace_) trace_->dump(2 * cycle + phase);
#endif
    }
};

}  // namespace

extern "C" {

Simulation *sim_create() { return new Simulation; }
void sim_destroy(Simulation *sim) { delete sim; }
int sim_beat_bytes() { return BYTES; }
void sim_timing(Simulation *sim, const dram::Timing *timing) { sim->memory.timing = *timing; }
void sim_stalls(Simulation *sim, const dram::Stalls *stalls) { sim->memory.stalls(*stalls); }
void sim_map(Simulation *sim, uint64_t base, uint64_t size, uint8_t *memory) {
    sim->memory.map({base, size, memory});
}
void sim_unmap(Simulation *sim, uint64_t base) { sim->memory.unmap(base); }
void sim_fault(Simulation *sim, const dram::Fault *fault) { sim->memory.faults.push_back(*fault); }
void sim_clear_faults(Simulation *sim) { sim->memory.faults.clear(); }
int sim_run(Simulation *sim, uint64_t cycles) { return sim->run(cycles); }
int sim_read(Simulation *sim, uint32_t address, uint32_t *value) {
    return sim->read(address, value);
}
int sim_write(Simulation *sim, uint32_t address, uint32_t value) {
    return sim->write(address, value);
}
uint64_t sim_cycle(Simulation *sim) { return sim->cycle; }
int sim_idle(Simulation *sim) { return sim->memory.idle(); }
const char *sim_violation(Simulation *sim) { return sim->memory.violation.c_str(); }
void sim_statistics(Simulation *sim, dram::Statistics *out) { *out = sim->memory.statistics; }
int sim_trace_open(Simulation *sim, const char *path) { return sim->trace_open(path); }
void sim_trace_close(Simulation *sim) { sim->trace_close(); }
}
