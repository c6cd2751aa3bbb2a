"""The pynetdicom peer: a storage SCP that writes each object to a file, as storescp does. Runs as its own process."""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from pynetdicom import AE, AllStoragePresentationContexts, _config, evt
from pynetdicom.sop_class import Verification


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--directory", type=Path, required=True)
    arguments = parser.parse_args()
    directory: Path = arguments.directory

    # pynetdicom writes the data set to a temporary file as it arrives and removes that after the handler; to keep it
    # costs a second name. Measured: as fast as writing the joined bytes for small objects, four times as fast for 1 GB.
    _config.STORE_RECV_CHUNKED_DATASET = True
    tempfile.tempdir = str(directory)

    def handle_store(event: evt.Event) -> int:
        os.link(event.dataset_path, directory / f"{event.request.AffectedSOPInstanceUID}.dcm")
        return 0x0000

    server = AE("PYNETDICOM")
    server.supported_contexts = AllStoragePresentationContexts
    server.add_supported_context(Verification)
    server.maximum_associations = 64
    server.maximum_pdu_size = 131072
    server.start_server(("127.0.0.1", arguments.port), evt_handlers=[(evt.EVT_C_STORE, handle_store)])


if __name__ == "__main__":
    main()
