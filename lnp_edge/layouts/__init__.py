"""How the synapses of a projection lie in flash and run in C, one way per file. csr.py serves all projections.

Adding a file adds a layout. It defines

    ENCODES       whether its code reads each input once, so that it may encode what it reads
    WORTH         how many times the bytes of csr.py it may take, 1 or more, because it is faster
    serves(model, p) -> bool
                  whether it can store projection p, and is fast on it. Of those that serve, the one with the
                  fewest bytes for its worth is taken: so no synapse less ever needs more flash
    tables(model, p) -> {part: array}
                  the tables w_<projection>_<part>, in their order in flash and in their stored types; one of
                  int8 or int16 begins at a multiple of 4 bytes
    synapses(p, part, k, entry) -> [(pre, post, weight)]
                  the synapses of entry k of a table, and the weights that it says if it is `entry`; weight None:
                  it says none; post None too: it concerns all of `pre`. A weight of padding has none
    spread(p, pre, post, nnz) -> places
                  optional: where so many synapses of a matrix [pre, post] are, j * post + i of each, if they
                  lie like those of p. Without it they are evenly spread
    turns_back(p) -> bool
                  whether its loop by hand can turn sums back
    turn(p)       by how many bits its loop by hand turns sums, so that it adds what is stored; 0: it does not
    by_hand(model, p, turn=0) -> C
                  what defines functions for body, loops of a core's own, for sums that are turned by so many bits, on
                  a core that turns sums (csrc/lnp_armv7em.h, lnp_rv32im.h, lnp_helium.h); "" if there is none for p.
                  That of a layout that `turns_back` does so
    body(model, p, table, x) -> C
                  the body of project_<projection>(sums, source): adds what the source sends to int32 sums[], one
                  for each target. The source is `input`, of which x is the encoded value k, or
                  `const uint32_t *z`, the spikes. Without ENCODES input[] is encoded, has a 0 more if their number
                  is odd, and begins at a multiple of 4 bytes. A table is <table>_<part>; lnp_kernel.h has loops

Sums are exact in any order: SEMANTICS.md section 6 bounds every partial one.
"""
