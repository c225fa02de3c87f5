"""Training, the only part that needs torch.

loop       leaves, optimiser, epochs: train(), and fit() for whoever brings another layer
layer      the recurrent layer twice: the generic definition for any neuron, and which kernel is used where
fused      one autograd function for a whole sequence, by the kernels sparse or dense, both of lanes (vector code)
integer    the same with the device's integers forwards: training in 2 to 8 bits, by integer_kernel
augment    batches of changed windows;  checkpoint  a stopped training on disk;  bench, bench_peers  lnp bench --train
"""
