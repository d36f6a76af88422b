"""PYNQ boards in simulation, behind the remote protocol of PYNQ's client or in process."""
