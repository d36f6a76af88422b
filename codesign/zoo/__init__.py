"""Networks and data to start with: the demo's, MLPerf Tiny's ResNet-8, single layers."""
