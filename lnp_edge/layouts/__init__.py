"""How the synapses of a projection lie in flash and run in C, one way per file. csr.py serves all projections.

Adding a file adds a layout. It defines

    ENCODES       whether its code reads each input once, so that it may encode what it reads
    serves(model, p) -> bool
                  whether it can store projection p, and is fast on it. Of those that serve, the one with the
                  fewest bytes is taken: so no synapse less ever needs more flash
    tables(model, p) -> {part: array}
                  the tables w_<projection>_<part>, in their order in flash and in their stored types
    place(p, part, k) -> (pre, post)
                  the synapse of entry k of a table; post None: all of `pre`; both None: padding
    body(model, p, table, x) -> C
                  the body of project_<projection>(drive, source): adds what the source sends to int32 drive[], the
                  sums of the target, which has room for a multiple of 4. The source is `input`, of which x is the
                  encoded value k, or `const uint32_t *z`, the spikes. Without ENCODES x is input[k], an int8.
                  A table is <table>_<part>; lnp_kernel.h has loops

Sums are exact in any order: SEMANTICS.md section 6 bounds every partial one.
"""
