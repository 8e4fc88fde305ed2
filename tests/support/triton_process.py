"""Triton's own client, unmodified, in a process of its own: commands as JSON lines in, outcomes as JSON lines out.

Its descriptors and ours describe the same package, and protobuf takes only one description of it in a process.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

PATIENCE_SECONDS = 30.0


def infer(client: Any, inputs: dict[str, Any], outputs: list[str] | None, dtype: str, **options: Any) -> dict[str, Any]:
    tensors = []
    for name, values in inputs.items():
        array = np.array(values, dtype=dtype)
        tensor = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array)
        tensors.append(tensor)
    wanted = None if outputs is None else [triton.InferRequestedOutput(name) for name in outputs]
    result = client.infer(inputs=tensors, outputs=wanted, **options)
    response = result.get_response()
    return {
        "model_name": response.model_name,
        "model_version": response.model_version,
        "id": response.id,
        "degraded": response.parameters["degraded"].bool_param,
        "outputs": {
            output.name: {"shape": list(output.shape), "hex": result.as_numpy(output.name).tobytes().hex()}
            for output in response.outputs
        },
    }


def answer(client: Any, method: str, options: dict[str, Any]) -> Any:
    if method == "infer":
        return infer(client, **options)
    return getattr(client, method)(**options)


def main() -> None:
    with triton.InferenceServerClient(sys.argv[1]) as client:
        for line in sys.stdin:
            method, options = json.loads(line)
            try:
                outcome = {"result": answer(client, method, options)}
            except InferenceServerException as error:
                outcome = {"status": error.status(), "message": error.message()}
            print(json.dumps(outcome), flush=True)


if __name__ == "__main__":
    main()
