"""The joint search over networks and architectures: evaluation, samplers, workers, storage."""
