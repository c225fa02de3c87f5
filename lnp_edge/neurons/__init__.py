"""Neurons, one per file. Adding a file adds a neuron; cuba_lif.py is the example to follow.

A file defines

    STATE       names of the state variables, in the order of `step`'s arguments and results
    PARAMETERS  {name: Parameter}, in the order in which they are drawn; see spec/parameters.py
    TABLES      {name: Stored}, the tables on a device, in the order of `step`'s last arguments
    step(*STATE, drive, *TABLES) -> (*STATE, z)
                lines `name = op(...)` with the operations of spec/ops.py. Numba compiles it, C and
                ONNX are printed from it, and training, pruning and spectra run it in floats. z is
                made by `greater`. The fused kernels support steps of the form that
                training/kernels/derive.py describes. A neuron without z does not spike: it is a
                read-out. Networks can be trained with it if it is y = c * y + drive + bias, like
                li.py, or mean.py without c; else it serves integer models alone.
    bound(drive, *TABLES) -> int
                the largest |value| that any variable of a step can reach while |drive| <= drive;
                all in Python integers

It may define

    limits(most, *TABLES) -> (*STATE)
                for a saved state that a device loads: the largest |value| of each state variable,
                by operations as in `step`. most is the largest bound of the population. No step
                may leave these limits, and a state within `bound` must be within them. Without it
                every limit is most, which is right if a neuron has one state variable.
    reachable(drive, *TABLES) -> (x, y, k, total, apart)
                in place of limits, for a neuron of two state variables that turn into each other:
                integers, so that every state reached from rest has |first| <= x, |second| <= y and
                |first // 4 +- 2**k * second // 4| <= total and apart, the last of the difference.
                `bound` must hold after a load of any such state. 2**k * y <= 2**31 * 3 / 2. Each
                neuron takes 20 bytes, which a linker drops if nothing loads.

A neuron that spikes has the parameters v_th and bias, and also defines

    drive_for(dt, parameters) -> (current, potential)
                the constant drives, [n] each, that give a membrane current of 1, and a membrane
                potential of 1 in the absence of spikes. Input weights, recurrent weights and bias
                are drawn and trained in units of the second.
"""
