"""Structured pruning of float networks, in steps that the accelerator turns into cycles, and what
wins the accuracy back: reconstruction and fine-tuning."""
