"""What a device accepts of a saved state whose variables turn into each other, and its corners."""

import numpy as np


def accepts(limits, v, w):
    """SEMANTICS.md section 10."""
    most_v, most_w, k, total, apart = limits
    x, y = v // 4, 2**k * w // 4
    return abs(v) <= most_v and abs(w) <= most_w and abs(x + y) <= total and abs(x - y) <= apart


def corners(limits, rows=4):
    """The corners of what is accepted, integers; rows : of its limits, the others are left out."""
    most_v, most_w, k, total, apart = limits
    found = [(most_v, most_w), (most_v, -most_w), (-most_v, -most_w), (-most_v, most_w)]
    for sign, most in ((1, total), (-1, apart))[: rows - 2]:
        for side in (1, -1):
            kept = []
            ends = [side * (v + sign * 2**k * w) - 4 * most for v, w in found]
            for i, (a, end_a) in enumerate(zip(found, ends, strict=True)):
                b, end_b = found[(i + 1) % len(found)], ends[(i + 1) % len(found)]
                kept += [a] if end_a <= 0 else []
                if end_a * end_b < 0:
                    kept.append(tuple(x + (y - x) * end_a // (end_a - end_b) for x, y in zip(a, b, strict=True)))
            found = kept
    if rows < 4:
        return found
    for i, (v, w) in enumerate(found):  # divisions round: towards 0 until it is accepted
        while not accepts(limits, v, w):
            v, w = (x - np.sign(x).item() * -(-abs(x) >> 14) for x in (v, w))
        found[i] = v, w
    return found


def powers(c_mem, c_ad, c_pull, steps):
    """M**t in floats, [steps, 2, 2]: only to plan what is then run in integers."""
    b, r, p = 1 - c_mem / 65536, 1 - c_ad / 65536, c_pull / 65536
    found = [np.eye(2)]
    for _ in range(steps - 1):
        found.append(np.array([[b, -1], [p * b, r - p]]) @ found[-1])
    return np.array(found)
