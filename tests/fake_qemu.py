#!/usr/bin/env python3
"""Stands in for QEMU: reads the initramfs as a kernel would, and answers as the scenarios' first lines ask for.

about ok | panic | warn | silent | die | garble | liar      what becomes of the kernel in that cell
"""
import json
import os
import re
import sys
import time


def unpack(archive):
    files, at = {}, 0
    while True:
        assert archive[at:at + 6] == b"070701", archive[at:at + 6]
        field = [int(archive[at + 6 + 8 * i:at + 14 + 8 * i], 16) for i in range(13)]
        mode, size, name_size = field[1], field[6], field[11]
        name = archive[at + 110:at + 110 + name_size - 1].decode()
        body = at + (110 + name_size + 3 & ~3)
        if name == "TRAILER!!!":
            return files
        files[name] = (mode, archive[body:body + size])
        at = body + (size + 3 & ~3)


def main():
    say = lambda text: print(text, end="\r\n", flush=True)
    out = open("/dev/fd/3", "w", buffering=1)
    tell = lambda o: out.write(json.dumps(o) + "\n")
    log = os.environ["FAKE_QEMU_LOG"]
    assert sys.stdin.read() == ""
    with open("/dev/fd/4", "rb") as f:
        files = unpack(f.read())
    assert files["init"][0] == 0o100755 and files["dev/console"][0] == 0o020600 and files["proc"][0] == 0o040755
    modules = [files[f"modules/{i}.ko"][1].split(b"\0")[0].decode() for i in range(16) if f"modules/{i}.ko" in files]
    with open(log, "a") as f:
        f.write(f"boot of {sys.argv[sys.argv.index('-kernel') + 1]} with {','.join(modules)}\n")
    say("tsc: Unable to calibrate against PIT")
    if os.environ.get("FAKE_QEMU") == "dead":
        say("Kernel panic - not syncing: No working init found.")
        return
    tell({"ready": "Linux fake"})
    tell({"note": "a module cannot be loaded: Exec format error"})
    jobs = json.loads(files["jobs"][1])
    for nr, path, kind in jobs["cells"]:
        about = re.match(r"about (\w+)", files[path[1:]][1].decode()).group(1)
        tell({"begin": nr})
        say("WARNING: of the cell before")
        say("holdfast: a cell begins")
        cell = {"cell": nr, "verdict": "ok", "detail": "", "steps": [{"line": 3, "step": "P: map b 1", "result": "ok"}]}
        if jobs["trace"]:
            cell["steps"][0]["pages"] = f"P b@0 of kind {kind}\n"
        if about == "panic":
            say("BUG: unable to handle page fault for address: 0000000000001000")
            say("RIP: 0010:try_grab_folio+0x1/0x2")
            return
        if about == "warn":
            cell.update(verdict="bug", detail="the kernel says: WARNING: mm/gup.c:75", console="WARNING: mm/gup.c:75\nRIP\n")
        if about == "silent":
            time.sleep(60)
        if about == "die":
            return
        if about == "garble":
            out.write('{"cell":\n')
        if about == "liar":
            cell["verdict"] = "lost-write"
        tell(cell)
    tell({"end": True})
    time.sleep(60)


main()
