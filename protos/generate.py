"""Generates the Python bindings in service/wire from the .proto files; `--check` only says whether they are current.

Two things are changed in protoc's output. Imports between bindings get the package's full path. And the Open Inference
Protocol's files go into a private descriptor pool (service.wire.pool): tritonclient, kserve and mlserver all register
the same `inference.*` names in protobuf's default pool, where only one of them can be.
"""

import argparse
import filecmp
import re
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent
WIRE = ROOT.parent / "service" / "wire"
PRIVATE = "open_inference"

_IMPORT = re.compile(r"^(from|import) (open_inference|stillroom)\b", re.MULTILINE)
_POOL_IMPORT = "from google.protobuf import descriptor_pool as _descriptor_pool"


def generate(into: Path) -> None:
    """Writes all bindings below `into`. Raises SystemExit when protoc finds an error."""
    names = sorted(str(path.relative_to(ROOT)) for path in ROOT.rglob("*.proto"))
    arguments = ["protoc", f"-I{ROOT}", f"--python_out={into}", f"--pyi_out={into}", f"--grpc_python_out={into}"]
    well_known = str(Path(protoc.__file__).parent / "_proto")
    if protoc.main([*arguments, f"-I{well_known}", *names]):
        sys.exit("protoc failed")
    for path in [*into.rglob("*.py"), *into.rglob("*.pyi")]:
        text = _IMPORT.sub(r"\1 service.wire.\2", path.read_text())
        if path.relative_to(into).parts[0] == PRIVATE:
            text = text.replace(_POOL_IMPORT, "from service.wire.pool import POOL as _POOL")
            text = text.replace("_descriptor_pool.Default()", "_POOL")
        if path.name.endswith("_pb2_grpc.py") and "_pb2 as" not in text and "class " not in text:
            path.unlink()  # A file of messages only: protoc still writes an empty stub module.
            continue
        path.write_text(text)
    for folder in [path for path in into.rglob("*") if path.is_dir()]:
        (folder / "__init__.py").write_text("")


def differing(left: Path, right: Path) -> list[str]:
    """Relative paths of generated files that are missing or not equal."""
    names = [path.relative_to(left) for path in left.rglob("*.py*") if path.is_file()]
    return sorted(
        str(name) for name in names if not (right / name).exists() or not filecmp.cmp(left / name, right / name, False)
    )


def main() -> None:
    """Generates, or checks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when the bindings are not current")
    if not parser.parse_args().check:
        generate(WIRE)
        return
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch))
        stale = differing(Path(scratch), WIRE)
    if stale:
        sys.exit("run `make protos`: not current are " + ", ".join(stale))


if __name__ == "__main__":
    main()
