"""Sends a folder to a storage of Xet, or fetches it, with nothing but `hf_xet`.

    client.py up FOLDER LIST        the hashes of the files go to LIST
    client.py down FOLDER LIST

The address is in CAS_URL, a token in CAS_TOKEN.
"""

import json
import os
import sys
from pathlib import Path

import hf_xet


def main() -> None:
    act, folder, kept = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    access = {"endpoint": os.environ["CAS_URL"], "token": os.environ["CAS_TOKEN"], "token_expiry_unix_secs": 1 << 40}
    session = hf_xet.XetSession()
    if act == "up":
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        with session.new_upload_commit(**access) as commit:
            # As huggingface_hub does: the digest is made on the way.
            sent = [(p, commit.start_upload_file(str(p), sha256=hf_xet.COMPUTE_SHA256)) for p in files]
        infos = {str(path.relative_to(folder)): handle.result().xet_info for path, handle in sent}
        kept.write_text(json.dumps({name: [info.hash, info.file_size] for name, info in infos.items()}))
    else:
        with session.new_file_download_group(**access) as group:
            for name, (file, size) in json.loads(kept.read_text()).items():
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                group.start_download_file(hf_xet.XetFileInfo(file, size), str(path))


if __name__ == "__main__":
    main()
