#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The layers of docs/design.md: includes point down only, and each library links with those it may use and nothing else.

usage: tests/layers.py; BUILD and CC are the build's. Prints TAP."""
import os
import re
import subprocess
import sys
import tempfile

EXTERNAL = ("liburcu-bp", "liburing", "jansson")
nr = failed = 0


def check(name, faults):
    global nr, failed
    nr += 1
    print(f"{'not ok' if faults else 'ok'} {nr} - {name}")
    for fault in faults:
        print(f"# {fault}")
    failed += bool(faults)


def words(cell):
    return [w.strip().strip("`") for w in cell.split(",") if w.strip()]


class Layer:
    def __init__(self, line):
        folders, _, uses, files = line.strip().strip("|").split("|")
        self.folders, self.uses, self.files = words(folders), words(uses), words(files)
        self.name = self.folders[0]


def read_map():
    text = open("docs/design.md").read()
    table = re.search("<!-- layers:begin -->\n(.*?)<!-- layers:end -->", text, re.S).group(1)
    return [Layer(line) for line in table.splitlines()[2:]]


def map_faults(layers):
    """What is in the table but not there, or there but not in the table, or used before its turn."""
    below, folders = set(EXTERNAL), {f for layer in layers for f in layer.folders}
    for layer in layers:
        for used in set(layer.uses) - below:
            yield f"{layer.name} may use {used}, which does not stand above it in the table"
        for file in layer.files:
            if not os.path.exists(f"src/{file}"):
                yield f"src/{file} is not there"
        below.add(layer.name)
    with_code = {os.path.relpath(d, "src") for d, _, files in os.walk("src") if any(f[-2:] in (".c", ".h") for f in files)}
    for folder in with_code ^ folders:
        yield f"src/{folder} is {'not in the table' if folder in with_code else 'not there'}"


def include_faults(layers):
    of = {f: layer for layer in layers for f in layer.folders if os.path.isdir(f"src/{f}")}
    seen = 0
    for folder, layer in of.items():
        for file in sorted(os.listdir(f"src/{folder}")):
            if file[-2:] not in (".c", ".h"):
                continue
            for n, line in enumerate(open(f"src/{folder}/{file}"), 1):
                found = re.match(r'\s*#\s*include\s*"(.*)"', line)
                if not found:
                    continue
                seen += 1
                other = os.path.dirname(os.path.normpath(f"{folder}/{found.group(1)}"))
                if other not in of:
                    yield f'src/{folder}/{file}:{n}: "{found.group(1)}" is no layer\'s'
                elif of[other] != layer and of[other].name not in layer.uses:
                    yield f"src/{folder}/{file}:{n}: {layer.name} may not use {of[other].name}"
    if seen < 100:
        yield f"only {seen} includes were found"


def archive(name):
    return f"{os.environ['BUILD']}/layers/lib{name.replace('/', '_')}.a"


def all_below(layers, name):
    """What a layer may use, and what that may."""
    by_name = {layer.name: layer for layer in layers}
    found, todo = set(), list(by_name[name].uses)
    while todo:
        used = todo.pop()
        if used not in found:
            found.add(used)
            todo += by_name[used].uses if used in by_name else []
    return found


def link_faults(layers, name, scratch):
    """The whole library into a program, with what it may use. The explorer has copies, so it has to do without."""
    below = all_below(layers, name)
    archives = [archive(b) for b in sorted(below - set(EXTERNAL))] if name != "explore" else []
    packages = sorted(below & set(EXTERNAL)) if name != "explore" else []
    main, out = f"{scratch}/main.c", f"{scratch}/program"
    open(main, "w").write("int main(void) { return 0; }\n")
    libs = subprocess.check_output(["pkg-config", "--libs", *packages], text=True).split() if packages else []
    done = subprocess.run(
        [os.environ["CC"], main, "-o", out, "-Wl,--whole-archive", archive(name), "-Wl,--no-whole-archive",
         "-Wl,--start-group", *archives, "-Wl,--end-group", *libs],
        capture_output=True, text=True, check=False)
    return done.stderr.splitlines()[:20] if done.returncode else []


def main():
    layers = read_map()
    check("the map in docs/design.md is what src has, and points down", list(map_faults(layers)))
    check("no include points up", list(include_faults(layers)))
    with tempfile.TemporaryDirectory() as scratch:
        for layer in layers:
            if layer.name not in ("guardian", "init", "cli"):  # programs
                check(f"{layer.name} links with what it may use", link_faults(layers, layer.name, scratch))
    print(f"1..{nr}")
    return failed > 0


sys.exit(main())
