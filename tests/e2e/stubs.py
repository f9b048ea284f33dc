"""Python for the messages in `proto/`, made by grpcio-tools when it is imported: `pb`, `rpc`, and Google's errors."""
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

PROTO = Path(__file__).resolve().parent.parent.parent / "proto"
FOLDER = tempfile.TemporaryDirectory(prefix="plimsoll-stubs-")
FILES = ("plimsoll/v1/inference.proto", "google/rpc/status.proto", "google/rpc/error_details.proto")
if protoc.main(["", f"-I{PROTO}", f"--python_out={FOLDER.name}", f"--grpc_python_out={FOLDER.name}",
                f"-I{Path(protoc.__file__).parent / '_proto'}", *(str(PROTO / file) for file in FILES)]):
    sys.exit("protoc does not take the files of proto/")
sys.path.insert(0, FOLDER.name)
from google.rpc import error_details_pb2, status_pb2  # noqa: E402, F401
from plimsoll.v1 import inference_pb2 as pb  # noqa: E402, F401
from plimsoll.v1 import inference_pb2_grpc as rpc  # noqa: E402, F401
