"""Blocks from tensors to tensors, one idea a file.

Fields lie side by side in a row, each with its own width: `x [B, ΣD]`, as the encoders of `distill.features` make it.
Layers that tell fields apart take `widths`, field name to width in the order of the columns; those that need equal
widths say so when they are built. `out_features` is the width of the output row.

Costs are counted on the running layer by `distill.layers.flops`, in matrix products.
"""
