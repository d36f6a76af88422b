"""Networks larger than the chip: maps in DRAM, layers in strips, weights streamed."""
