"""A custom transfer of git-lfs that sends by Xet, as git-xet's source does: lines of JSON, one for each thing to do.

https://github.com/git-lfs/git-lfs/blob/main/docs/custom-transfers.md
"""

import json
import os
import sys
import urllib.request

import hf_xet

log = open(os.path.join(os.environ["HOME"], "xet_agent.log"), "a")


def say(**message):
    print(json.dumps(message), flush=True)


for line in sys.stdin:
    asked = json.loads(line)
    event = asked["event"]
    print(event, asked.get("operation", ""), file=log, flush=True)
    if event == "init":
        # Downloads are none of its business, and it says so.
        fault = {"code": 32, "message": "not supported"} if asked["operation"] != "upload" else None
        say(**({"error": fault} if fault else {}))
    elif event == "upload":
        header, href = asked["action"]["header"], asked["action"]["href"]
        say(event="progress", oid=asked["oid"], bytesSoFar=1, bytesSinceLast=1)

        def refresh():
            with urllib.request.urlopen(href) as answer:
                fresh = json.load(answer)
            return fresh["accessToken"], fresh["exp"]

        try:
            hf_xet.upload_files(
                [asked["path"]],
                header["X-Xet-Cas-Url"],
                (header["X-Xet-Access-Token"], int(header["X-Xet-Token-Expiration"])),
                refresh,
                None,
                "model",
                sha256s=[asked["oid"]],
            )
            say(event="complete", oid=asked["oid"])
            print("sent", asked["oid"], asked["size"], file=log, flush=True)
        except Exception as error:
            say(event="complete", oid=asked["oid"], error={"code": 2, "message": str(error)})
    elif event == "terminate":
        break
