#!/usr/bin/env python3
# Writes random scenarios into a folder: random_scenarios.py FOLDER COUNT SEED [real]
# Every step may fail, and nothing is claimed, so that whatever is not `ok` is somebody's fault. With `real`, only steps
# that a kernel without privileges takes.
import os
import random
import sys

PAGES = 4
PAGE = 4096
ADVICE = "dontneed free dontfork dofork wipeonfork keeponfork populate-read populate-write collapse".split()


class Scenario:
    def __init__(self, seed, real):
        self.r = random.Random(seed)
        self.real = real
        self.value = 0x10
        self.lines = []
        self.size = {}  # of (process, buffer), in pages
        self.procs = []
        self.refs = []  # [name, made by, bytes]
        self.made = 0

    def next_value(self):
        self.value = self.value % 255 + 1
        return f"0x{self.value:02x}"

    def bytes_of(self, size):
        lo = self.r.choice([0, 0, 8, 4088, 4096, 8192, 12288]) % (size * PAGE)
        hi = lo + self.r.choice([8, 8, 100, 4096, 8192])
        return lo, min(hi, size * PAGE)

    def pages_of(self, buf, size):
        lo = self.r.randrange(size)
        hi = self.r.randrange(lo, size) + 1
        if self.r.random() < 0.3:
            return buf
        return f"{buf}[{lo * PAGE}..{hi * PAGE}]"

    def range_of(self, buf, size, single):
        if single:
            at = self.r.randrange(size) * PAGE + self.r.choice([0, 8, 4088])
            return f"{buf}[{at}..{at + 8}]", 8
        lo, hi = self.bytes_of(size)
        return f"{buf}[{lo}..{hi}]", hi - lo

    def owner(self):
        pairs = sorted(self.size)
        return self.r.choice(pairs) if pairs else None

    def ref_name(self, verb, length):
        self.made += 1
        self.refs.append([f"r{self.made}", verb, length])
        return self.refs[-1][0]

    def new_child(self):
        return f"C{len(self.procs)}"

    def step(self, par, actor=None):
        """A line without its actor's colon form, or None where nothing fits."""
        r = self.r
        pair = self.owner()
        if not pair:
            return None
        p, buf = pair
        who = actor(p) if actor else p
        size = self.size[pair]
        real = self.real
        verbs = ["read"] * 6 + ["write"] * 6 + ["advise"] * 4 + ["protect"] * 2 + ["unmap", "swapout", "wrprotect"]
        verbs += ["device"] * 4 + ["pin"] * 2
        if not real:
            verbs += ["migrate", "merge", "get"]
        if not par:
            verbs += ["fork"] * 2 + ["map"] * 2 + ["remap"] * 2 + ["process_vm"] * 2 + ["ptrace", "vmsplice", "fixedbuf"]
            verbs += ["release"] * 2 + ["odirect"]
        verb = r.choice(verbs)
        if verb == "read":
            return f"{who}: read {self.range_of(buf, size, par)[0]} maybe"
        if verb == "write":
            return f"{who}: write {self.range_of(buf, size, par)[0]} {self.next_value()} maybe"
        if verb == "advise":
            return f"{who}: advise {self.pages_of(buf, size)} {r.choice(ADVICE)} maybe"
        if verb == "protect":
            return f"{who}: protect {self.pages_of(buf, size)} {r.choice(['r', 'rw', 'rw', 'none'])} maybe"
        if verb in ("unmap", "swapout", "wrprotect", "migrate", "merge"):
            return f"{who}: {verb} {self.pages_of(buf, size)} maybe"
        if verb == "fork":
            child = self.new_child()
            if len(self.procs) > 5:
                return None
            self.procs.append(child)
            for q, b in list(self.size):
                if q == p:
                    self.size[child, b] = self.size[q, b]
            return f"{p}: fork {child} maybe"
        if verb == "map":
            pages = r.randrange(1, PAGES + 1)
            self.size[p, buf] = pages
            return f"{p}: map {buf} {pages} {r.choice(['rw', 'rw', 'r', 'none'])} maybe"
        if verb == "remap":
            pages = r.choice([0, 0, r.randrange(1, PAGES + 1)])
            if pages:
                self.size[p, buf] = pages
            return f"{p}: remap {buf}{f' {pages}' if pages else ''} maybe"
        if verb in ("process_vm", "ptrace"):
            if r.random() < 0.5:
                return f"{r.choice(self.procs)}: {verb} read {p} {self.range_of(buf, size, False)[0]} maybe"
            return f"{r.choice(self.procs)}: {verb} write {p} {self.range_of(buf, size, False)[0]} {self.next_value()} maybe"
        if verb in ("pin", "get"):
            where, length = self.range_of(buf, size, par)
            how = "w long" if real else r.choice(["r", "w"]) + (" long" if verb == "pin" and r.random() < 0.5 else "")
            return f"{who}: {verb} {self.ref_name(verb, length)} {where} {how} maybe"
        if verb in ("vmsplice", "fixedbuf"):
            where, length = self.range_of(buf, size, False)
            return f"{p}: {verb} {self.ref_name(verb, length)} {where} maybe"
        if verb == "odirect":
            lo = r.randrange(size) * PAGE
            length = r.choice([512, 4096])
            name = self.ref_name("odirect", length)
            if r.random() < 0.5:
                return f"{p}: odirect read {name} {buf}[{lo}..{lo + length}] {self.next_value()} maybe"
            return f"{p}: odirect write {name} {buf}[{lo}..{lo + length}] maybe"
        if not self.refs:
            return None
        ref = r.choice(self.refs)
        name, made, length = ref
        if verb == "device":
            if made == "odirect":
                if par:
                    return None
                self.refs.remove(ref)
                return f"device: finish {name} maybe"
            part = "[0..8]" if par or r.random() < 0.5 else ""
            if r.random() < 0.5 or made == "vmsplice" or made == "get":
                return f"device: read {name}{part} maybe"
            return f"device: write {name}{part} {self.next_value()} maybe"
        if made == "odirect" or par:
            return None
        self.refs.remove(ref)
        how = {"pin": "unpin", "get": "put"}.get(made, "release")
        return f"{self.procs[0]}: {how} {name} maybe"

    def par_block(self):
        arms = []
        refs = [list(ref) for ref in self.refs]
        forked = self.r.random() < 0.5
        for a in range(self.r.choice([2, 2, 3])):
            arm = []
            if a == 0 and forked and len(self.procs) < 5:
                p = self.r.choice(sorted({q for q, _ in self.size}))
                child = self.new_child()
                arm.append((p, child))
            else:
                for _ in range(self.r.randrange(1, 4)):
                    line = self.step(True, lambda p: f"{p}.T{a}")
                    if line:
                        arm.append(line)
            if arm:
                arms.append(arm)
        if len(arms) < 2:
            self.refs = refs
            return
        out = []
        for arm in arms:
            lines = []
            for line in arm:
                if isinstance(line, tuple):
                    p, child = line
                    self.procs.append(child)
                    for q, b in list(self.size):
                        if q == p:
                            self.size[child, b] = self.size[q, b]
                    line = f"{p}: fork {child} maybe"
                lines.append("\t" + line)
            out.append("\n".join(lines))
        self.lines.append("par {\n" + "\n} and {\n".join(out) + "\n}")

    def text(self, kinds):
        self.procs = ["P"]
        self.lines = ["about a random one", f"kinds {kinds}", "process P", "P: map a 3", "P: map b 2", "P: write a 0x10"]
        self.size = {("P", "a"): 3, ("P", "b"): 2}
        for _ in range(self.r.randrange(4, 16)):
            if self.r.random() < 0.15:
                self.par_block()
                continue
            line = self.step(False)
            if line:
                self.lines.append(line)
        for p, b in sorted(self.size):
            self.lines.append(f"{p}: read {b} maybe")
            for page in range(self.size[p, b]):
                self.lines.append(f"{p}: read {b}@{page} maybe")
        return "\n".join(self.lines) + "\n"


def main():
    folder, count, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    kinds = "base swapped zeropage memfd thp large-16k"
    for i in range(count):
        with open(os.path.join(folder, f"random-{seed}-{i}.hf"), "w") as f:
            f.write(Scenario(seed * 1000003 + i, "real" in sys.argv[4:]).text(kinds))


main()
