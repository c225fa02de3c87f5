"""Turn a trained network into model.onnx: int8 weights, 16-bit decays, no overflow by proof."""

import argparse
import json
from pathlib import Path

import numpy as np

from lnp_edge import network_file, onnx_file, pipeline
from lnp_edge.console import bars, note, out
from lnp_edge.files import refuse_unwritable
from lnp_edge.quantize import quantize
from lnp_edge.spec.layout import state_bytes, table_bytes

HELP = "turn a trained network into model.onnx, in integers"
EXAMPLE = "  lnp quantize trained.safetensors -o model.onnx"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("network", type=Path, metavar="NETWORK.safetensors")
    parser.add_argument("-o", "--output", type=Path, default=Path("model.onnx"))
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(args: argparse.Namespace) -> int:
    from runtime.host import predict
    from runtime.reference import Reference

    refuse_unwritable(args.output)
    file = network_file.load(args.network)
    data = pipeline.data_for(file.config, file.network)
    provenance = {"config": json.loads(file.config.to_json())}
    model = quantize(file.network, data.task, file.config.network.neuron, provenance)
    windows = data.test_windows[0]
    with bars() as progress:
        task = progress.add_task("check on held-out windows", total=len(windows), info="")
        classes = predict(Reference(model), windows, lambda: progress.update(task, advance=1))
    onnx_file.save(model, args.output)
    levels = float(np.median(model.w_in.column_max()))
    report = {
        "fingerprint": f"{model.fingerprint:08x}",
        "neurons": model.n,
        "recurrent_synapses": model.w_rec.nnz,
        "synapses_rounded_to_0": file.network.w_rec.nnz - model.w_rec.nnz,
        "shift_in_rec_out": [model.shift_in, model.shift_rec, model.shift_out],
        # Of 127; what one shift for input and recurrent weights would leave of it is the second.
        "input_levels": [levels, levels / 2 ** (model.shift_rec - model.shift_in)],
        "v_th": [int(model.params["v_th"].min()), int(model.params["v_th"].max())],
        "largest_state_bits": float(np.log2(max(model.neuron_bounds()))),
        "table_bytes": table_bytes(model),
        "state_bytes": state_bytes(model),
        "accuracy": pipeline.accuracy(data, classes),
        "float_accuracy": file.history.get("float_accuracy"),
    }
    if args.json:
        print(json.dumps(report))
    else:
        for key, value in report.items():
            out.print(f"{key:<24}{value}")
    note(f"written: {args.output}    next: lnp generate {args.output} --board cortex-m4 -o firmware")
    return 0
