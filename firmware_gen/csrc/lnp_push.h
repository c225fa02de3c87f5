// Decisions from single samples, SEMANTICS.md section 7. lnp_<name>.c includes this file after
// lnp_state.h. Besides what that needs it must define
//   LNP_CHANNELS, LNP_FRAME, LNP_N_IN, LNP_WINDOW, LNP_HOP
//   LNP_WINDOWS         windows that a sample may belong to: networks in lnp_<name>_stream_t
//   LNP_STREAMS         1 if the one network is never reset, else 0
//   LNP_CLASSIFIES      0 for a forecast; then the rest is not needed
//   uint32_t decision_lead, decision_least, decision_outside: not macros, for 0 would warn
//   LNP_RANGED          1 if there are int16_t decision_low[LNP_CHANNELS] and decision_high
//   LNP_LEVELS          number of elements of lnp_level_t decision_level
#ifndef LNP_PUSH_H
#define LNP_PUSH_H

void LNP_MODEL(stream_init)(LNP_MODEL(stream_t) * s)
{
    for (uint32_t w = 0; w < LNP_WINDOWS; w++) {
        LNP_MODEL(init)(&s->net[w]);
        s->age[w] = LNP_WINDOW;  // idle
        s->phase[w] = 0;
        s->outside[w] = 0;
    }
    for (uint32_t k = 0; k < LNP_N_IN; k++) {
        s->recent[k] = 0;
    }
    s->oldest = 0;
    s->until_next = 0;
    s->next = 0;
    s->label = 0;
    s->decided = false;
}

#if LNP_CLASSIFIES
static bool leaves_range(const int16_t *sample)
{
#if LNP_RANGED
    for (uint32_t c = 0; c < LNP_CHANNELS; c++) {
        if (sample[c] < decision_low[c] || sample[c] > decision_high[c]) {
            return true;
        }
    }
#else
    (void)sample;
#endif
    return false;
}

static void decide(LNP_MODEL(stream_t) * s, const int32_t *y, uint32_t outside, lnp_decision_t *decision)
{
    uint32_t best = 0;
    for (uint32_t o = 1; o < LNP_N_OUT; o++) {
        best = y[o] > y[best] ? o : best;
    }
    // A difference of two int32_t fits an uint32_t if it is not negative.
    if (!s->decided || (uint32_t)y[best] - (uint32_t)y[s->label] >= decision_lead) {
        s->label = best;
    }
    s->decided = true;
    uint32_t margin = LNP_N_OUT > 1 ? UINT32_MAX : 0;
    for (uint32_t o = 0; o < LNP_N_OUT; o++) {
        if (o != s->label) {
            const uint32_t lead = y[s->label] > y[o] ? (uint32_t)y[s->label] - (uint32_t)y[o] : 0;
            margin = lead < margin ? lead : margin;
        }
    }
    decision->label = s->label;
    decision->margin = margin;
    decision->percent = 0;
#if LNP_LEVELS
    for (uint32_t k = 0; k < LNP_LEVELS && margin >= decision_level[k].margin; k++) {
        decision->percent = decision_level[k].percent;
    }
#endif
    decision->unknown = margin < decision_least || outside > decision_outside;
}
#else
static bool leaves_range(const int16_t *sample)
{
    (void)sample;
    return false;
}

static void decide(LNP_MODEL(stream_t) * s, const int32_t *y, uint32_t outside, lnp_decision_t *decision)
{
    (void)s;
    (void)y;
    (void)outside;
    decision->label = 0;
    decision->margin = 0;
    decision->percent = 0;
    decision->unknown = false;
}
#endif

// One step of network w on the latest LNP_FRAME samples.
static void step_on_recent(LNP_MODEL(stream_t) * s, uint32_t w)
{
    uint32_t from = LNP_CHANNELS * s->oldest;
    for (uint32_t k = 0; k < LNP_N_IN; k++) {
        s->counts[k] = s->recent[from];
        from = from + 1u == LNP_N_IN ? 0 : from + 1u;
    }
    LNP_MODEL(step)(&s->net[w], s->counts);
}

bool LNP_MODEL(push)(LNP_MODEL(stream_t) * s, const int16_t sample[LNP_CHANNELS], lnp_decision_t *decision)
{
    bool due = false;
    const uint32_t outside = leaves_range(sample) ? 1 : 0;
    for (uint32_t c = 0; c < LNP_CHANNELS; c++) {
        s->recent[LNP_CHANNELS * s->oldest + c] = sample[c];
    }
    s->oldest = s->oldest + 1u == LNP_FRAME ? 0 : s->oldest + 1u;
    if (s->until_next == 0) {  // a window begins
        LNP_MODEL(reset)(&s->net[s->next]);
        s->age[s->next] = 0;
        s->phase[s->next] = 0;
        s->outside[s->next] = 0;
        s->next = s->next + 1u == LNP_WINDOWS ? 0 : s->next + 1u;
        s->until_next = LNP_HOP;
    }
    if (!LNP_STREAMS) {
        s->until_next--;
    }
    for (uint32_t w = 0; w < LNP_WINDOWS; w++) {
        if (s->age[w] == LNP_WINDOW) {
            continue;
        }
        s->age[w]++;
        s->outside[w] += outside;
        s->phase[w]++;
        if (s->phase[w] == LNP_FRAME) {
            s->phase[w] = 0;
            step_on_recent(s, w);
        }
        if (s->age[w] == LNP_WINDOW) {
            decision->y = s->net[w].LNP_READOUT;
            decide(s, decision->y, s->outside[w], decision);
            due = true;
            if (LNP_STREAMS) {
                s->age[w] = LNP_WINDOW - LNP_HOP;
                s->outside[w] = 0;
            }
        }
    }
    return due;
}

#endif
