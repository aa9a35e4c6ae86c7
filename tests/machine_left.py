#!/usr/bin/env python3
"""kill -9 leaves the machine as it was: runners, their guardians and both at random moments, two runners at once, and
runners at system calls that strace(1) counts for us.

usage: tests/machine_left.py [MOMENTS [SEED]]; HOLDFAST is the command. Prints TAP. Of the system calls, as many as moments
are tried, or with MOMENTS 0 all. In the environment: PATIENCE, the seconds that the machine may take to be as it was;
FIRST_FAILURE: ends there.
"""
import collections
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HOLDFAST = os.path.realpath(os.environ.get("HOLDFAST", "build/holdfast"))
GUARDIAN = os.path.join(os.path.dirname(HOLDFAST), "holdfast-guardian")
MOMENTS = int(sys.argv[1]) if len(sys.argv) > 1 else 20
SEED = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(1 << 32)
RUN = [HOLDFAST, "run", "--on", "here,native", "--kinds", "swapped,thp,hugetlb,memfd-hugetlb,large-64k",
       "scenarios/cow", "scenarios/thread", "scenarios/races/fork-and-merge.hf"]
POOL = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
PATIENCE = float(os.environ.get("PATIENCE", 30))  # seconds that the machine may take to be as it was

scratch = tempfile.mkdtemp(prefix="machine-left.")
os.environ["TMPDIR"] = scratch


def read(path):
    try:
        with open(path, "rb") as f:
            return f.read().decode(errors="replace")
    except OSError:
        return None


def listing(path):
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []


def settings(root):
    """Every file below that can be set."""
    found = {}
    for folder, _, files in os.walk(root):
        for name in files:
            path = os.path.join(folder, name)
            if os.stat(path).st_mode & 0o222 and os.stat(path).st_mode & 0o444:
                found[path] = read(path)
    return found


def processes():
    """Of the command and its guardian, without zombies: those are their parents'."""
    found = {}
    for pid in filter(str.isdigit, listing("/proc")):
        try:
            exe = os.readlink(f"/proc/{pid}/exe")
        except OSError:
            continue
        if exe in (HOLDFAST, GUARDIAN):
            found[int(pid)] = exe
    return found


def guardians():
    return [pid for pid, exe in processes().items() if exe == GUARDIAN]


def machine():
    state = {}
    for root in "/sys/kernel/mm/transparent_hugepage", "/sys/kernel/mm/hugepages", "/sys/kernel/mm/ksm", "/proc/sys/vm":
        state.update(settings(root))
    for node in listing("/sys/devices/system/node"):
        state.update(settings(f"/sys/devices/system/node/{node}/hugepages"))
    # surplus is the kernel's: what is reserved while nobody has it comes and goes with the pool
    for path in [p for p in state if os.path.basename(p).startswith("nr_hugepages")]:
        surplus = read(os.path.join(os.path.dirname(path), "surplus_hugepages"))
        state[path] = int(state[path]) - int(surplus or 0)
    state["swaps"] = [line.split()[0] for line in read("/proc/swaps").splitlines()]
    for block in listing("/sys/block"):
        state[f"/sys/block/{block}"] = read(f"/sys/block/{block}/disksize"), \
            read(f"/sys/block/{block}/loop/backing_file")
    state["devices"] = [name for name in listing("/dev") if name.startswith("zram")]
    state["modules"] = sorted(line.split()[0] for line in (read("/proc/modules") or "").splitlines())
    state["mounts"] = read("/proc/self/mounts")
    state["fuse"] = listing("/sys/fs/fuse/connections")
    state["processes"] = processes()
    state["scratch"] = listing(scratch)
    for folder in "/run", "/tmp", "/var/tmp", "/dev/shm":
        state[folder] = [name for name in listing(folder) if name.startswith("holdfast")]
    return state


def difference(before):
    """What is not as it was, when it has had the time to be."""
    end = time.monotonic() + PATIENCE
    while True:
        now = machine()
        changed = {k: (before.get(k), now.get(k)) for k in before.keys() | now.keys() if before.get(k) != now.get(k)}
        if not changed or time.monotonic() > end:
            return changed
        time.sleep(0.05)


def start(command=None):
    return subprocess.Popen(command or RUN, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True)


def guardian_of(pid):
    for child in (read(f"/proc/{pid}/task/{pid}/children") or "").split():
        try:
            if os.readlink(f"/proc/{child}/exe") == GUARDIAN:
                return int(child)
        except OSError:
            pass
    return None


def kill(pid):
    if pid:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def kill_group(run):
    """As a shell's job or a CI's step is killed."""
    try:
        os.killpg(run.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def kill_session(run):
    for pid in processes():
        try:
            if os.getsid(pid) == run.pid:
                os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def ended(run):
    """Its exit status, when nobody of it is left that has its standard error."""
    try:
        run.said = run.communicate(timeout=4 * PATIENCE)[1]
    except subprocess.TimeoutExpired:
        kill_session(run)
        raise AssertionError("a run does not end, or something of it") from None
    return run.returncode


def moment(rng, duration):
    """Much happens at the beginning."""
    time.sleep(rng.uniform(0, duration) if rng.random() < 0.6 else rng.uniform(0, 0.15))


def finishes(run):
    status = ended(run)
    assert status == 0, f"a run that was not killed: exit status {status}: {run.said}"


def runner(rng, duration):
    run = start()
    moment(rng, duration)
    (kill_group if rng.random() < 0.5 else lambda r: kill(r.pid))(run)
    ended(run)


def guardian(rng, duration):
    run = start()
    moment(rng, duration)
    kill(guardian_of(run.pid))
    finishes(run)


def both(rng, duration):
    run = start()
    moment(rng, duration)
    pids = [guardian_of(run.pid), run.pid]
    rng.shuffle(pids)
    for pid in pids:
        kill(pid)
    ended(run)
    # what is left is put back by those who come next
    if rng.random() < 0.5:
        subprocess.run([HOLDFAST, "restore"], stdout=subprocess.DEVNULL, check=True)
    else:
        subprocess.run([HOLDFAST, "run", "--on", "here", "--kinds", "base", "scenarios/cow/a1-basic-cow.hf"],
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)


def guardian_then_runner(rng, duration):
    run = start()
    moment(rng, duration)
    kill(guardian_of(run.pid))
    time.sleep(rng.uniform(0, 0.3))
    kill(run.pid)
    ended(run)
    subprocess.run([HOLDFAST, "restore"], stdout=subprocess.DEVNULL, check=True)


def pair(rng, duration):
    """One is killed, or none; the other one ends as if nothing had been."""
    runs = [start()]
    time.sleep(rng.uniform(0, 0.3))
    runs.append(start())
    rng.shuffle(runs)
    if rng.random() < 0.7:
        moment(rng, 2 * duration)
        if rng.random() < 0.5:
            kill(guardian_of(runs[0].pid))
        kill(runs[0].pid)
        ended(runs[0])
    else:
        finishes(runs[0])
    finishes(runs[1])
    # its guardian may have gone before it without the other's taking part
    subprocess.run([HOLDFAST, "restore"], stdout=subprocess.DEVNULL, check=True)


nr = failed = 0


def report(good, name, detail=""):
    global nr, failed
    nr += 1
    failed += not good
    print(f"{'ok' if good else 'not ok'} {nr} - {name}")
    for line in str(detail).splitlines() if not good else []:
        print(f"# {line}")
    sys.stdout.flush()


# ---- what the command says and does about a journal ----

JOURNAL = "/run/holdfast.journal"
SETTING = "/proc/sys/vm/page-cluster"
BASE = [HOLDFAST, "run", "--on", "here", "--kinds", "base", "scenarios/cow/a1-basic-cow.hf"]
THP = [HOLDFAST, "run", "--on", "here", "--kinds", "thp", "scenarios/cow/a1-basic-cow.hf"]


def says(status, text, command):
    p = subprocess.run(command, capture_output=True, text=True)
    assert p.returncode == status and text in p.stdout + p.stderr, \
        f"{command[1]}: exit status {p.returncode}, want {status} and '{text}':\n{p.stdout}{p.stderr}"


def write(path, text):
    with open(path, "w") as f:
        f.write(text)


def journal(*lines, boot=None, first="holdfast journal 1"):
    """As a process that is no more has left it."""
    dead = subprocess.Popen(["true"])
    dead.wait()
    boot = boot or read("/proc/sys/kernel/random/boot_id").strip()
    return "\n".join([first, f"boot {boot}", f"owner {dead.pid} 1 1", *lines])


def left_by_the_dead(now, lines, after, status, text, command=None, mode=0o600, **how):
    """A setting that is at NOW, with a journal, must be at AFTER when the command has run."""
    was = read(SETTING)
    try:
        write(JOURNAL, journal(*lines, **how))
        os.chmod(JOURNAL, mode)
        write(SETTING, now)
        says(status, text, command or [HOLDFAST, "restore"])
        assert read(SETTING).strip() == after, f"{SETTING} is {read(SETTING)}"
    finally:
        write(SETTING, was)
        if os.path.exists(JOURNAL):
            os.unlink(JOURNAL)


def set_and_put_back():
    left_by_the_dead("5", [f"set {SETTING} 4 5", ""], "4", 0, f"{SETTING}: 4 again")
    left_by_the_dead("5", [f"set {SETTING} 4 5", ""], "4", 0, "1 put back", BASE)
    left_by_the_dead("5", [f"set {SETTING} 4 6", f"set {SETTING} 6 5", ""], "4", 0, f"{SETTING}: 4 again")


def what_others_set_is_left():
    left_by_the_dead("2", [f"set {SETTING} 4 5", ""], "2", 0, "left at 2, which somebody else has set")
    left_by_the_dead("2", [f"set {SETTING} 4 5", ""], "2", 0, "left at 2, which somebody else has set", BASE)
    left_by_the_dead("5", [f"set {SETTING} 4 5", "back 1", ""], "5", 0, "all is as it was")


def what_was_not_done_is_not_undone():
    left_by_the_dead("5", [f"set {SETTING} 4 5"], "5", 0, "all is as it was")  # the end of the line is missing
    left_by_the_dead("5", [f"set {SETTING} 4 5", ""], "5", 0, "all is as it was", boot="another")
    left_by_the_dead("5", ["set /proc/sys/vm/no-such 4 5", "zram 4711", ""], "5", 0, "all is as it was")


def what_is_not_understood_is_left():
    how = {"first": "holdfast journal 2"}
    left_by_the_dead("5", [f"set {SETTING} 4 5", ""], "5", 2, "Operation not permitted", mode=0o666)
    left_by_the_dead("5", [f"set {SETTING} 4 5", ""], "5", 1, "another version", **how)
    left_by_the_dead("5", [f"set {SETTING} 4 5", ""], "5", 77, "another version", THP, **how)


def what_is_stuck_stays_in_the_journal():
    path = "/sys/kernel/mm/transparent_hugepage/hpage_pmd_size"  # nobody can set that
    size = read(path).strip()
    left_by_the_dead("5", [f"set {SETTING} 4 5", f"set {path} 1 {size}", ""], "4", 1, "cannot be put back")
    left_by_the_dead("5", [f"set {path} 1 {size}", ""], "5", 77, "cannot be put back", THP)


def wait_for_changes(run, nr):
    """True: it has made so many. False: it has ended before that."""
    while run.poll() is None:
        text = read(JOURNAL) or ""
        if f"owner {run.pid} " in text and text.count("\n") - 3 >= nr:
            return True
    return False


def one_after_the_other():
    """A run that is stopped keeps what it has; others wait, say so, and can be interrupted."""
    first = start()
    wait_for_changes(first, 1)
    os.kill(first.pid, signal.SIGSTOP)
    try:
        says(1, f"process {first.pid} has changed this machine, and is at work", [HOLDFAST, "restore"])
        says(0, "1 ok", BASE)  # needs no setting
        second = subprocess.Popen(THP, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        line = second.stderr.readline()
        assert f"waiting for process {first.pid}, which has changed" in line, line
        second.send_signal(signal.SIGINT)
        assert ended(second) == 130, f"exit status {second.returncode}: {second.said}"
    finally:
        os.kill(first.pid, signal.SIGCONT)
    finishes(first)


def without_a_guardian():
    """A copy of the command that finds none changes nothing."""
    copy = os.path.join(scratch, "holdfast")
    subprocess.run(["cp", HOLDFAST, copy], check=True)
    try:
        says(77, "holdfast-guardian, which would put settings back, cannot be started", [copy] + THP[1:])
    finally:
        os.unlink(copy)


def child_of(pid):
    """A process of the scenario."""
    for child in (read(f"/proc/{pid}/task/{pid}/children") or "").split():
        try:
            if os.readlink(f"/proc/{child}/exe") == HOLDFAST:
                return int(child)
        except OSError:
            pass
    return None


def is_stopped(pid):
    stat = read(f"/proc/{pid}/stat")
    return bool(stat) and stat.rsplit(")", 1)[1].split()[0] == "T"


def start_with_a_child_that_hangs():
    """It is in the midst of a step: the runner waits for it, and would for ten seconds."""
    for _ in range(50):
        run = start()
        while wait_for_changes(run, 2):
            child = child_of(run.pid)
            if not child:
                continue
            try:
                os.kill(child, signal.SIGSTOP)
            except ProcessLookupError:
                continue
            time.sleep(0.2)
            if is_stopped(child):
                return run
        ended(run)
    raise AssertionError("no process of a run could be stopped")


def what_hangs_is_ended():
    """A process that is stopped does not see that the runner is gone."""
    for with_guardian in False, True:
        run = start_with_a_child_that_hangs()
        if with_guardian:
            kill(guardian_of(run.pid))
        kill(run.pid)
        run.wait()
        if with_guardian:
            restore()
        ended(run)  # its pipe is closed: nobody of it is left


def without_a_journal():
    """What cannot be written down is not done. The folder is full, or read-only, for this command alone."""
    mount = "mount -t tmpfs -o size=4k none /run && "
    for how, text in ("head -c 4096 /dev/zero >/run/full", "No space left"), ("mount -o remount,ro /run", "Read-only"):
        says(77, f"holdfast.journal cannot be written ({text}",
             ["unshare", "--mount", "sh", "-c", mount + how + ' && exec "$@"', "-"] + THP)


def others_that_change_the_pool():
    """The benchmark and the tests' with-pool, where they are built, have guardians, too."""
    build = os.path.dirname(HOLDFAST)
    for command in [f"{build}/bench/bench-native", "--quick", "--hugetlb-pool"], \
            [f"{build}/tests/with-pool", "8", "sleep", "60"]:
        if not os.path.exists(command[0]):
            continue
        for _ in range(3):
            run = start(command)
            assert wait_for_changes(run, 1), f"{command[0]}: exit status {ended(run)}: {run.said}"
            kill(run.pid)
            ended(run)
            end = time.monotonic() + PATIENCE
            while guardians() and time.monotonic() < end:
                time.sleep(0.01)


CASES = {
    "settings of a dead run are put back, by restore and by the next run": set_and_put_back,
    "what somebody else has set since is left": what_others_set_is_left,
    "what was not done, or before a reboot, is not undone": what_was_not_done_is_not_undone,
    "a journal of another version is left, and nothing changed": what_is_not_understood_is_left,
    "what cannot be put back stays in the journal": what_is_stuck_stays_in_the_journal,
    "runs that change settings go one after the other": one_after_the_other,
    "the benchmark's pool, and the tests'": others_that_change_the_pool,
    "without a journal nothing is changed": without_a_journal,
    "processes that hang are ended": what_hangs_is_ended,
    "without a guardian nothing is changed": without_a_guardian,
}


def try_cases(before):
    for name, case in CASES.items():
        try:
            case()
            changed = difference(before)
            report(not changed, name, changed)
        except AssertionError as e:
            report(False, name, e)


def try_moments(before, duration):
    rng = random.Random(SEED)
    for i in range(MOMENTS):
        what = [runner, guardian, both, pair, runner, guardian_then_runner][i % 6]
        try:
            what(rng, duration)
            changed = difference(before)
            report(not changed, f"moment {i + 1}, {what.__name__}: the machine is as it was",
                   "\n".join(f"{k}: {was!r} is now {now!r}" for k, (was, now) in changed.items()))
        except (AssertionError, subprocess.CalledProcessError) as e:
            report(False, f"moment {i + 1}, {what.__name__}", e)
        if failed:
            subprocess.run([HOLDFAST, "restore"], stdout=subprocess.DEVNULL)
            before = machine()


# ---- at each system call ----

FEW = [HOLDFAST, "run", "--on", "here", "--kinds", "swapped,hugetlb,large-64k", "scenarios/cow/a1-basic-cow.hf",
       "scenarios/races/fork-and-merge.hf"]


def calls_of(command):
    """Every call of a run as its name and which of those it is, in order."""
    trace = os.path.join(scratch, "trace")
    subprocess.run(["strace", "-qq", "-o", trace, *command], stdout=subprocess.DEVNULL, check=True)
    seen, calls = collections.Counter(), []
    for line in read(trace).splitlines():
        name = line.split("(")[0]
        if name.isidentifier() and "(" in line and name not in ("execve", "exit_group"):
            seen[name] += 1
            calls.append((name, seen[name]))
    os.unlink(trace)
    return calls


def killed_at(call, command):
    name, when = call
    subprocess.run(["strace", "-qq", "-o", "/dev/null", "-e", f"inject={name}:signal=KILL:when={when}", *command],
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=120)


def chosen(calls):
    return calls if not MOMENTS else random.Random(SEED).sample(calls, min(MOMENTS, len(calls)))


def try_calls(before, name, command, prepare, afterwards):
    """One that is killed before this or that call. Only what is left is named."""
    prepare()
    calls = calls_of(command)
    left = []
    for call in chosen(calls):
        prepare()
        killed_at(call, command)
        afterwards()
        changed = difference(before)
        if changed:
            left.append(f"{call[0]} {call[1]}: {changed}")
            subprocess.run([HOLDFAST, "restore"], stdout=subprocess.DEVNULL)
            before = machine()
    report(not left, f"{name}: killed at {len(chosen(calls))} of {len(calls)} system calls", "\n".join(left))


def nothing():
    pass


def restore():
    subprocess.run([HOLDFAST, "restore"], stdout=subprocess.DEVNULL, check=True)


def leave_much():
    """A run that is killed together with its guardian when it has changed much."""
    much = False
    while not much:
        run = start()
        much = wait_for_changes(run, 5)
        kill(guardian_of(run.pid))
        kill(run.pid)
        ended(run)


def try_all_calls(before):
    if not shutil.which("strace"):
        report(True, "runs killed at system calls # SKIP no strace")
        return
    try_calls(before, "a run", FEW, nothing, nothing)
    try_calls(before, "holdfast restore", [HOLDFAST, "restore"], leave_much, restore)


def main():
    if os.geteuid() or not os.access(POOL, os.W_OK):
        print("ok 1 - the machine is left as it was # SKIP only root may change its settings\n1..1")
        return 0
    print(f"# {MOMENTS} moments, seed {SEED}")
    before = machine()
    begun = time.monotonic()
    finishes(start())
    duration = time.monotonic() - begun
    changed = difference(before)
    report(not changed, f"after a run of {duration:.1f} s nothing is changed", changed)
    try_cases(before)
    try_moments(before, duration)
    try_all_calls(before)
    os.rmdir(scratch)
    print(f"1..{nr}")
    return 1 if failed else 0


sys.exit(main())
