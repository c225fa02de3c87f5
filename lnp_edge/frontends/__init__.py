"""Front ends turn the samples of one step into features, one per file. logdiff.py is the example.

A step of the network takes `frame` samples of every sensor channel. A front end makes some features
of them, for each channel alike; an encoder then turns every feature into an input of the network.
A file defines

    NOISE         whether training may add noise to the samples: before a logarithm it ruins them
    EVENTS        whether a feature of 0 means that nothing happened: its input is then 0 too, which
                  costs a device no synapse; optional
    SPECTRAL      whether features are powers of frequencies. For own data [augment] speed is then 0
                  by default: interpolation smooths the fast noise that they measure; optional
    features(frame) -> names
                  of the features of a channel. Raises ConfigError for a frame it cannot take.
    state(frame) -> {name: most}
                  the state variables of a channel and the largest |value| of each. They are 0
                  after a reset.
    run(op, first, samples, *state, *params) -> (features, new state), two tuples
                  op      : the operations, op.add(a, b) and so on (spec/ops.py, FRONT_END_OPS)
                  first   : 1 in the first step after a reset, 0 later
                  samples : a list of `frame` counts of one channel, the earliest first
                  state   : the variables, in the order of `state`
                  params  : the parameters of the channel, in the order of PARAMS

A front end whose channels are not treated alike (delta.py is the example) also defines

    PARAMS        {name: (low, high)}, integer parameters of a channel and their ranges, within int16
    SETTINGS      {name: (default, low, high)}, keys that it adds to [data]; optional
    fit(counts, **settings) -> {name: integers [C]}
                  its parameters for the counts of training, int16 [S, C]

`run` may have loops over the frame and call other functions of its file, but must not look at the
values: it is called once with symbols, and C, ONNX, Numba and NumPy code come from what it did.
spec/frontend.py checks that no intermediate value leaves int32, that features are int16 and that
the state stays in its range, whatever the samples.
"""
