"""cocotb benches, a module for each component; ``sim.cocotb_runner`` runs them."""
