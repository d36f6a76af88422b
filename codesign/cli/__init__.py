"""The command `codesign`: the top layer, which may use every package."""
