"""Asks the server as any Triton client does: numpy and tritonclient, and nothing of this repository.

`python -m loadtests.demo.stock_client HOST:PORT MODEL FILE` sends one row for each of a few users, twice.
"""

import sys

import numpy as np
from tritonclient import grpc as triton

_USERS = ("ann", "bob", "eve", "joe")


def main() -> int:
    """Prints who answered whom, and what; exit code 1 when a user did not meet the same variant again."""
    server, model, path = sys.argv[1:]
    with np.load(path, allow_pickle=False) as archive:
        pictures, labels = archive["pixel_values"], archive["labels"]
    client = triton.InferenceServerClient(server)
    output = client.get_model_metadata(model).outputs[0].name
    answered_by: dict[str, set[str]] = {user: set() for user in _USERS}
    for number, user in enumerate(_USERS * 2):
        row = number * len(labels) // (2 * len(_USERS))
        tensor = triton.InferInput("pixel_values", [1, *pictures.shape[1:]], "FP32")
        tensor.set_data_from_numpy(pictures[row : row + 1])
        result = client.infer(model, [tensor], parameters={"routing_key": user})
        variant = result.get_response().model_version
        answered_by[user].add(variant)
        print(f"  {user}: {variant} says {int(result.as_numpy(output).argmax())}, the label is {labels[row]}")
    client.close()
    return 0 if all(len(variants) == 1 for variants in answered_by.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
