"""Networks and data to start with: the demo's, MLPerf Tiny's ResNet-8, ResNet-18 and MobileNetV2
for large images, single layers."""
