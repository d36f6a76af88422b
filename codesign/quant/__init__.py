"""Post-training quantisation: calibration of a float network and its conversion to the int8
``codesign.ir.Graph``.
"""
