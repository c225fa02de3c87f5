"""Training, the only part that needs torch.

adamw        the steps of the optimiser
loop         leaves, optimiser and epochs: train(), and fit() for another forward pass
layer        the definition: a plain loop over time, for any neuron
run          chooses between the definition and the fused kernels
kernels/     one autograd function per sequence (fused); vector loops: sparse, dense, integers
integer      training in 2 to 8 bits: the forward pass computes with the device's integers
augment      batches of augmented windows
checkpoint   a stopped training on disk
bench        lnp bench --train, with other libraries in bench_peers
"""
