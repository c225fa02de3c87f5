"""What the examples of several kinds share: a sketch, and samples that are made up."""

from lnp_edge.spec.model import QuantizedModel

SKETCH = """// Samples in, ${what}s out: reads analog pins, and lights the LED while
// ${first}.
// Begin your own with a copy of it.
#include <lnp_${name}.h>

static lnp_${name}_stream_t stream;
static int16_t sample[LNP_${NAME}_CHANNELS];
static uint32_t next;  // when a sample is due, of ${clock}()

// Your part: reads a sensor, as counts of the data that the network was trained on.
static void read_sample()
{
    for (uint8_t k = 0; k < LNP_${NAME}_CHANNELS; k++) {
        sample[k] = (int16_t)analogRead(A0 + k);
    }
}

void setup()
{
    pinMode(LED_BUILTIN, OUTPUT);
    lnp_${name}_stream_init(&stream);
    next = ${clock}();
}

void loop()
{
    if ((int32_t)(${clock}() - next) < 0) {
        return;
    }
    next += (uint32_t)(LNP_${NAME}_SAMPLE_SECONDS * ${second});
    lnp_decision_t decision;
    read_sample();
    if (lnp_${name}_push(&stream, sample, &decision)) {
        digitalWrite(LED_BUILTIN, (${test}) ? HIGH : LOW);
    }
}
"""

SYNTHETIC = """// Your part: reads a sensor, as counts of the data that the network was trained on.
// As it stands it makes them up.
static void read_sample(int16_t sample[LNP_${NAME}_CHANNELS])
{
    static uint32_t count;
    for (uint32_t k = 0; k < LNP_${NAME}_CHANNELS; k++) {
        sample[k] = (int16_t)((int32_t)(count * (37u + 11u * k) % 2000u) - 1000);
    }
    count++;
}
"""


def clock(model: QuantizedModel) -> dict[str, str]:
    """The clock of a sketch that is right for 2**31 counts, more than a sample takes, and how many it has a second."""
    return {"clock": "micros", "second": "1e6"} if model.sample_dt < 1000 else {"clock": "millis", "second": "1e3"}
