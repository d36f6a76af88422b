// The smallest machine with the accelerator's ports: copies LENGTH beats in one burst.
// Registers: 0 source, 4 destination, 8 beats, 12 start (reads: state), 16 last response,
// 20 misbehaviour (bit 0: WLAST one beat early, bit 1: change the address while it waits).
module copy_engine (
    input aclk, input aresetn,
    input [11:0] s_axi_awaddr, input s_axi_awvalid, output s_axi_awready,
    input [31:0] s_axi_wdata, input [3:0] s_axi_wstrb, input s_axi_wvalid, output s_axi_wready,
    output [1:0] s_axi_bresp, output reg s_axi_bvalid, input s_axi_bready,
    input [11:0] s_axi_araddr, input s_axi_arvalid, output s_axi_arready,
    output reg [31:0] s_axi_rdata, output [1:0] s_axi_rresp, output reg s_axi_rvalid, input s_axi_rready,
    output m_axi_arid, output [39:0] m_axi_araddr, output [7:0] m_axi_arlen, output [2:0] m_axi_arsize,
    output [1:0] m_axi_arburst, output m_axi_arvalid, input m_axi_arready,
    input m_axi_rid, input [63:0] m_axi_rdata, input [1:0] m_axi_rresp, input m_axi_rlast,
    input m_axi_rvalid, output m_axi_rready,
    output m_axi_awid, output [39:0] m_axi_awaddr, output [7:0] m_axi_awlen, output [2:0] m_axi_awsize,
    output [1:0] m_axi_awburst, output m_axi_awvalid, input m_axi_awready,
    output [63:0] m_axi_wdata, output [7:0] m_axi_wstrb, output m_axi_wlast, output m_axi_wvalid, input m_axi_wready,
    input m_axi_bid, input [1:0] m_axi_bresp, input m_axi_bvalid, output m_axi_bready,
    output interrupt
);
    localparam IDLE = 0, ADDRESS = 1, READ = 2, WRITE_ADDRESS = 3, WRITE = 4, RESPONSE = 5, DONE = 6;
    reg [31:0] source, destination, beats, misbehave;
    reg [2:0] state;
    reg [8:0] count;
    reg [1:0] response;
    reg [63:0] buffer [0:255];
    reg toggle;

    assign s_axi_awready = s_axi_awvalid & s_axi_wvalid & ~s_axi_bvalid;
    assign s_axi_wready = s_axi_awready;
    assign s_axi_bresp = 0;
    assign s_axi_arready = ~s_axi_rvalid;
    assign s_axi_rresp = 0;
    assign interrupt = state == DONE;
    assign m_axi_arid = 0;
    assign m_axi_araddr = source + ((misbehave[1] & toggle) ? 64 : 0);
    assign m_axi_arlen = beats - 1;
    assign m_axi_arsize = 3;
    assign m_axi_arburst = 1;
    assign m_axi_arvalid = state == ADDRESS;
    assign m_axi_rready = state == READ;
    assign m_axi_awid = 0;
    assign m_axi_awaddr = destination;
    assign m_axi_awlen = beats - 1;
    assign m_axi_awsize = 3;
    assign m_axi_awburst = 1;
    assign m_axi_awvalid = state == WRITE_ADDRESS;
    assign m_axi_wdata = buffer[count[7:0]];
    assign m_axi_wstrb = 8'hFF;
    assign m_axi_wvalid = state == WRITE;
    assign m_axi_wlast = count + 1 + misbehave[0] == beats;
    assign m_axi_bready = state == RESPONSE;

    always @(posedge aclk) begin
        toggle <= ~toggle;
        if (s_axi_awready) begin
            s_axi_bvalid <= 1;
            case (s_axi_awaddr)
                0: source <= s_axi_wdata;
                4: destination <= s_axi_wdata;
                8: beats <= s_axi_wdata;
                12: begin state <= ADDRESS; count <= 0; response <= 0; end
                20: misbehave <= s_axi_wdata;
            endcase
        end
        if (s_axi_bvalid & s_axi_bready) s_axi_bvalid <= 0;
        if (s_axi_arvalid & s_axi_arready) begin
            s_axi_rvalid <= 1;
            case (s_axi_araddr)
                0: s_axi_rdata <= source;
                4: s_axi_rdata <= destination;
                8: s_axi_rdata <= beats;
                12: s_axi_rdata <= state;
                16: s_axi_rdata <= response;
                default: s_axi_rdata <= 0;
            endcase
        end
        if (s_axi_rvalid & s_axi_rready) s_axi_rvalid <= 0;
        if (m_axi_arvalid & m_axi_arready) state <= READ;
        if (m_axi_rvalid & m_axi_rready) begin
            buffer[count[7:0]] <= m_axi_rdata;
            response <= response | m_axi_rresp;
            count <= count + 1;
            if (m_axi_rlast) begin state <= WRITE_ADDRESS; count <= 0; end
        end
        if (m_axi_awvalid & m_axi_awready) state <= WRITE;
        if (m_axi_wvalid & m_axi_wready) begin
            count <= count + 1;
            if (count + 1 == beats) state <= RESPONSE;
        end
        if (m_axi_bvalid & m_axi_bready) begin response <= response | m_axi_bresp; state <= DONE; end
        if (!aresetn) begin
            state <= IDLE; s_axi_bvalid <= 0; s_axi_rvalid <= 0; toggle <= 0; misbehave <= 0;
        end
    end
endmodule
