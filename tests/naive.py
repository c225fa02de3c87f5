"""The oracle: SEMANTICS.md in plain Python integers and dense loops. Slow and obvious on purpose.

Shares no code with the project: it reads the model's arrays and nothing else.
"""


def leak(x, c):
    away = (c * abs(x) + 65535 + (1 if x < 0 else 0)) // 65536
    return x + away if x < 0 else x - away


def dense(w):
    rows = [[0] * w.shape[1] for _ in range(w.shape[0])]
    for pre in range(w.shape[0]):
        for k in range(int(w.indptr[pre]), int(w.indptr[pre + 1])):
            rows[pre][int(w.indices[k])] = int(w.data[k])
    return rows


class Naive:
    def __init__(self, model):
        assert (model.neuron, model.encoder) == ("cuba_lif", "affine")
        self.m = model
        self.n, self.n_in, self.n_out = model.w_in.shape[1], model.w_in.shape[0], model.w_out.shape[1]
        self.w_in, self.w_rec, self.w_out = dense(model.w_in), dense(model.w_rec), dense(model.w_out)
        self.p = {k: [int(a) for a in v] for k, v in model.params.items()}
        self.e = {k: [int(a) for a in v] for k, v in model.encoder_params.items()}
        self.i_syn, self.v, self.z = [0] * self.n, [0] * self.n, [0] * self.n
        self.y = [0] * self.n_out
        self.h = 0

    def step(self, count):
        m, e, p = self.m, self.e, self.p
        x = []
        for k in range(self.n_in):
            product = (int(count[k]) - e["offset"][k]) * e["gain"][k]
            rounded = (product + 2 ** (e["shift"][k] - 1)) // 2 ** e["shift"][k]
            x.append(min(max(rounded, -127), 127))
        z = []
        for i in range(self.n):
            from_input = sum(self.w_in[k][i] * x[k] for k in range(self.n_in))
            from_spikes = sum(self.w_rec[j][i] * self.z[j] for j in range(self.n))
            drive = 2**m.shift_in * from_input + 2**m.shift_rec * from_spikes
            self.i_syn[i] = leak(self.i_syn[i], p["c_syn"][i]) + drive + p["bias"][i]
            self.v[i] = leak(self.v[i], p["c_mem"][i]) + self.i_syn[i]
            z.append(1 if self.v[i] > p["v_th"][i] else 0)
            if z[i]:
                self.v[i] -= p["v_th"][i]
        self.z = z
        for o in range(self.n_out):
            spikes = sum(self.w_out[j][o] * self.z[j] for j in range(self.n))
            self.y[o] = leak(self.y[o], int(m.c_out[o])) + 2**m.shift_out * spikes + int(m.bias_out[o])
        assert all(abs(s) < 2**31 for s in self.i_syn + self.v + self.y)
        for w in self.words():
            self.h = mix(self.h, w)

    def words(self):
        packed = [0] * ((self.n + 31) // 32)
        for i, z in enumerate(self.z):
            packed[i // 32] += z << (i % 32)
        return [s % 2**32 for s in self.i_syn + self.v] + packed + [s % 2**32 for s in self.y]


def mix(h, w):
    k = w * 0xCC9E2D51 % 2**32
    k = (k << 15 | k >> 17) % 2**32
    h = h ^ (k * 0x1B873593 % 2**32)
    h = (h << 13 | h >> 19) % 2**32
    return (h * 5 + 0xE6546B64) % 2**32
