"""What rules of pixelwise functions and reductions share: operands on one canvas, sums over real pixels."""
