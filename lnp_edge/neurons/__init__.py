"""Neurons: one file each, found by its presence. cuba_lif.py is the example to follow.

A file has

    STATE       names of the state variables, in the order of `step`'s arguments and results
    PARAMETERS  {name: Parameter}, in the order in which they are drawn; see spec/parameters.py
    TABLES      {name: Stored}, what the device holds, in the order of `step`'s last arguments
    step(*STATE, drive, *TABLES) -> (*STATE, z)
                lines of name = op(...) over spec/ops.py. Numba compiles it, C and ONNX are printed from it, and
                training, pruning and spectra run it in floats. Without z its neurons do not spike: a read-out.
    bound(drive, *TABLES) -> int
                the largest |value| that any variable of a step can reach while |drive| <= drive; Python integers

and, if its neurons spike (then it has parameters v_th and bias),

    drive_for(dt, parameters) -> (current, potential)
                the constant drive, [n] each, that comes to a current of 1 into the membrane, and to a potential of 1
                where nothing spikes: input, weights and bias are drawn and trained in units of the second
"""
