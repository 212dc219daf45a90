"""How good a segmentation is: internal indices, stability, out-of-time validity."""
