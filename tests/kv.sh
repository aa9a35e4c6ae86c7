#!/bin/sh
# examples/kv as its clients meet it, and the files that it saves: each is of one instant.
# shellcheck disable=SC2015,SC2317 # functions are called by check
. tests/tap.sh

kv=$BUILD/examples/kv
dir=$(mktemp -d)
trap 'end_all; rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM

# Tests run in subshells: what they start is known by files.
end_all() {
	for f in "$dir"/*.pid; do
		[ ! -e "$f" ] || kill -9 "$(cat "$f")" 2>/dev/null
		rm -f "$f"
	done
}

if ! command -v redis-cli >/dev/null; then
	skip "examples/kv" "redis-cli is missing (package redis-tools)"
	done_testing
fi

cli() {
	redis-cli -s "$dir/socket" "$@"
}

start() { # OPTION...
	rm -f "$dir/status"
	(
		"$kv" --port 0 --unix "$dir/socket" "$@" 2>>"$dir/log" &
		echo $! >"$dir/server.pid"
		wait $!
		echo $? >"$dir/status"
	) >/dev/null 2>&1 &
	for _ in $(seq 100); do
		[ "$(cli PING 2>/dev/null)" = PONG ] && return
		[ ! -e "$dir/status" ] || break
		sleep 0.05
	done
	cat "$dir/log"
	return 1
}

# The server's exit status.
ended() {
	for _ in $(seq 200); do
		[ -s "$dir/status" ] && rm "$dir/server.pid" && return "$(cat "$dir/status")"
		sleep 0.05
	done
	echo "the server does not end"
	kill -9 "$(cat "$dir/server.pid")"
	return 1
}

stop() { # SIGNAL
	kill "-$1" "$(cat "$dir/server.pid")" && ended
}

answers() { # ANSWER COMMAND...
	want=$1
	shift
	got=$(cli "$@" 2>&1 | tr '\n' ' ')
	[ "$got" = "$want " ] || {
		echo "$*: '$got', want '$want'"
		return 1
	}
}

# The value of an INFO line.
info() {
	cli INFO | tr -d '\r' | sed -n "s/^$1://p"
}

saved() { # waits for a save to end: STATUS
	for _ in $(seq 200); do
		[ "$(info rdb_bgsave_in_progress)" = 0 ] && break
		sleep 0.05
	done
	[ "$(info rdb_last_bgsave_status)" = "$1" ] || {
		cli INFO
		return 1
	}
}

# ---- commands ----

commands() {
	answers PONG PING && answers hello ECHO hello && answers OK SET a 1 && answers 1 GET a &&
		answers 2 INCR a && answers 1 DECR a && answers 11 INCRBY a 10 && answers 1 DECRBY a 10 &&
		answers 4 APPEND a xyz && answers 1xyz GET a && answers 4 STRLEN a &&
		answers OK MSET b 2 c 3 && answers '1xyz 2  3' MGET a b none c &&
		answers 2 EXISTS a b none && answers 3 DBSIZE && answers 2 DEL a b none &&
		answers '' GET a && answers '' SET c 4 NX && answers OK SET c 4 XX && answers 4 GET c &&
		answers c KEYS '[a-c]' && answers '' KEYS '?x*' && answers '0 c' SCAN 0 MATCH 'c*' COUNT 100 &&
		answers OK SELECT 0 && answers 'save  appendonly no' CONFIG GET save appendonly &&
		answers OK FLUSHALL && answers 0 DBSIZE
}

errors() {
	cli SET a 1 && cli SET s text &&
		answers "ERR SET takes NX or XX here; 'EX' is not supported " SET a 1 EX 5 &&
		answers "ERR unknown command 'LPUSH' " LPUSH l 1 &&
		answers "ERR wrong number of arguments for 'GET' command " GET &&
		answers "ERR value is not an integer or out of range " INCR s &&
		answers "OK" SET n 9223372036854775807 &&
		answers "ERR increment or decrement would overflow " INCR n &&
		answers "ERR wrong number of arguments for 'mset' command " MSET a 1 b &&
		answers "ERR DB index is out of range: there is only 0 " SELECT 1 && answers 1 GET a
}

big_value() {
	head -c 9000001 /dev/urandom | tr '\n\0' 'xy' >"$dir/big"
	cli -x SET big <"$dir/big" >/dev/null && cli GET big >"$dir/got" && echo >>"$dir/big" &&
		cmp "$dir/big" "$dir/got" && answers 1 DEL big
}

# Inline, with requests cut anywhere, among others.
pipelining() {
	cli FLUSHALL
	awk 'BEGIN { for (i = 0; i < 200000; i++) printf "SET key:%d %d\r\nINCR n\r\n", i, i }' |
		cli --pipe >"$dir/out" || return
	grep -q 'errors: 0, replies: 400000' "$dir/out" && answers 200001 DBSIZE && answers 200000 GET n &&
		answers 123456 GET key:123456 && [ "$(cli --scan | sort -u | wc -l)" -eq 200001 ]
}

bad_protocol() {
	python3 - "$dir/socket" <<-'END' && answers PONG PING
		import socket, sys
		s = socket.socket(socket.AF_UNIX)
		s.settimeout(60)
		s.connect(sys.argv[1])
		s.sendall(b"*1\r\n!3\r\n")
		reply = b""
		while chunk := s.recv(4096): # to the end: it hangs up
		    reply += chunk
		assert b"expected '$'" in reply, reply
	END
}

shut_down() {
	cli SHUTDOWN
	ended && [ ! -e "$dir/socket" ]
}

# ---- no room ----

fills_up() {
	cli SET kept this >/dev/null
	awk 'BEGIN { for (i = 0; i < 5000; i++) printf "SET key:%d %0900d\r\n", i, i }' |
		cli --pipe 2>&1 | grep -q 'OOM no room' || return
	answers this GET kept && answers PONG PING || return
	n=$(cli DBSIZE)
	cli MSET kept that more "$(printf '%0100000d' 1)" | grep -q 'OOM no room' &&
		answers this GET kept && answers "$n" DBSIZE && answers OK SET kept less &&
		answers 1 DEL key:3 && answers OK SET again "$(printf '%0900d' 1)"
}

# ---- saving ----

# Each round gives 50 keys the next number, one after the other: at any instant they fall by one at
# most, from the first key to the last.
write_rounds() {
	awk 'BEGIN { for (i = 1;; i++) for (k = 0; k < 50; k++) printf "SET round:%d %d\r\n", k, i }' |
		cli --pipe
}

one_instant() { # FILE: loads it
	round_keys=$(seq -f 'round:%g' 0 49)
	"$kv" --port 0 --unix "$dir/second" --memory 64M --save fork --file "$1" 2>"$dir/log2" >&2 &
	second=$!
	echo "$second" >"$dir/second.pid"
	for _ in $(seq 100); do
		[ -S "$dir/second" ] && break
		sleep 0.05
	done
	# shellcheck disable=SC2086 # a list of words
	redis-cli -s "$dir/second" MGET $round_keys >"$dir/values"
	redis-cli -s "$dir/second" SHUTDOWN NOSAVE
	wait "$second"
	rm "$dir/second.pid"
	awk 'NR == 1 { first = last = $1 }
		$1 > last || $1 < first - 1 || $1 == "" { bad = 1 }
		{ last = $1 }
		END { if (bad || NR != 50 || first < 1) { print "from " first " to " last; exit 1 } print first }' "$dir/values"
}

# While rounds are written, and random keys.
instants() {
	write_rounds >/dev/null 2>&1 &
	echo $! >"$dir/writer.pid"
	redis-benchmark -s "$dir/socket" -q -t set -r 50000 -n 1000000 -d 64 >/dev/null 2>&1 &
	echo $! >"$dir/load.pid"
	sleep 0.2
	before=0
	for i in 1 2 3 4; do
		[ "$(cli BGSAVE)" = 'Background saving started' ] && saved ok && cp "$dir/kv" "$dir/kv.$i" || return
	done
	kill "$(cat "$dir/load.pid")" "$(cat "$dir/writer.pid")"
	rm "$dir/load.pid" "$dir/writer.pid"
	stop TERM || return
	for i in 1 2 3 4; do
		at=$(one_instant "$dir/kv.$i") || {
			echo "$at"
			return 1
		}
		[ "$at" -gt "$before" ] || return
		before=$at
	done
}

fails_and_goes_on() {
	cli SET who new >/dev/null
	mkdir "$dir/kv.tmp" && sum=$(cksum <"$dir/kv") && cli BGSAVE >/dev/null && saved err &&
		info last_save_error | grep -q 'Is a directory' && [ "$sum" = "$(cksum <"$dir/kv")" ] &&
		answers new GET who && rmdir "$dir/kv.tmp" && cli BGSAVE >/dev/null && saved ok
}

killed_while_saving() { # OPTION...
	cli SET who kept >/dev/null && answers OK SAVE && answers OK SET who lost && stop TERM
	start --memory 64M --file "$dir/kv" --save-rate 500K "$@" || return
	answers lost GET who && answers OK SET who later &&
		answers 'Background saving started' BGSAVE &&
		answers 'ERR Background save already in progress ' BGSAVE || return
	sleep 0.3
	[ -e "$dir/kv.tmp" ] || return
	stop KILL
	sleep 0.2
	[ -e "$dir/kv.tmp" ] && start --memory 64M --file "$dir/kv" "$@" && [ ! -e "$dir/kv.tmp" ] &&
		answers lost GET who
}

ends_while_saving() { # OPTION...
	stop TERM
	start --memory 64M --file "$dir/kv" --save-rate 500K "$@" && cli BGSAVE >/dev/null &&
		answers OK SET who last && stop TERM && [ ! -e "$dir/kv.tmp" ] &&
		start --memory 64M --file "$dir/kv" "$@" && answers last GET who && stop INT
}

damaged() {
	printf x | dd of="$dir/kv" bs=1 seek=100000 conv=notrunc 2>/dev/null
	says 1 "its checksum is wrong" timeout 9 "$kv" --port 0 --unix "$dir/socket" --memory 64M --file "$dir/kv"
}

too_large() {
	start --memory 64M --save fork --file "$dir/kv" &&
		head -c 4000000 /dev/zero | tr '\0' x | cli -x SET large >/dev/null && stop TERM || return
	says 1 "take --memory" timeout 9 "$kv" --port 0 --unix "$dir/socket" --memory 1M --save fork --file "$dir/kv"
}

saving() { # METHOD OPTION...
	method=$1
	shift
	rm -f "$dir/kv"
	check "$method: a server starts" start --memory 64M --save-rate 40M --file "$dir/kv" "$@"
	[ -e "$dir/server.pid" ] || return
	check "$method: what is saved is one instant" instants
	check "$method: it loads what it saved" start --memory 64M --file "$dir/kv" "$@"
	check "$method: a save that fails" fails_and_goes_on
	check "$method: killed while it saves" killed_while_saving "$@"
	check "$method: ended while it saves" ends_while_saving "$@"
}

write_all() { # NUMBER
	awk -v n="$1" 'BEGIN { for (i = 0; i < 20000; i++) printf "SET key:%d %0900d\r\n", i, n }' | cli --pipe >/dev/null
}

# The pool has the server's pages and one more to spare. Frames of snapshots are not of the pool; fork() needs a page for each that
# is written next, and the kernel takes it from the child.
no_room_for_copies() { # STATUS OPTION...
	want=$1
	shift
	rm -f "$dir/kv"
	start --memory 64M --pages hugetlb --file "$dir/kv" --save-rate 10M "$@" && write_all 1 || return
	pool=/sys/kernel/mm/hugepages/hugepages-2048kB
	all=$(cat $pool/nr_hugepages)
	echo $((all - $(cat $pool/free_hugepages) + $(cat $pool/resv_hugepages) + 1)) >$pool/nr_hugepages
	cli BGSAVE >/dev/null && write_all 2 && saved "$want" && { [ "$want" = ok ] || info last_save_error | grep -q 'Bus error'; }
	err=$?
	echo "$all" >$pool/nr_hugepages
	[ $err -eq 0 ] && answers 20000 DBSIZE && stop TERM
}

# Of the pool that tests/native_hugetlb.sh sets, and puts back: it may be another test's otherwise.
if [ "${HF_WAYS:-}" = hugetlb ]; then
	saving "native, huge pages of the pool" --handler --pages hugetlb
	saving "native, huge pages of the pool, bracketed" --pages hugetlb
	saving "native, huge pages of the pool, signal mode" --pages hugetlb --signal
	saving "fork, huge pages of the pool" --pages hugetlb --save fork
	check "native: a pool without room for copies" no_room_for_copies ok --handler
	check "fork: a pool without room for copies" no_room_for_copies err --save fork
	done_testing
fi

check "--help" says 0 Usage: "$kv" --help
check "--version" says 0 "kv 0." "$kv" --version
check "a wrong size" says 2 "--memory '9X': expected a size" "$kv" --memory 9X
check "wrong pages" says 2 "--pages '3k': expected auto, 4k, thp, thp-4k or hugetlb" "$kv" --pages 3k
check "a wrong method" says 2 "--save 'foo': expected native or fork" "$kv" --save foo
check "--signal without a space" says 2 "of --save native only" "$kv" --save fork --signal
check "nowhere to connect" says 2 "nobody could connect" "$kv" --port 0
check "an address that is none" says 1 "expected an IPv4 address" timeout 9 "$kv" --bind nowhere --memory 1M --save fork

check "a server starts" start --memory 256M
check "commands" commands
check "errors" errors
check "a value of 9 MB" big_value
check "pipelining, growth, SCAN" pipelining
check "what is not the protocol" bad_protocol
check "no file, no BGSAVE" answers "ERR there is no file to save to; start with --file PATH " BGSAVE
check "a second server does not take its socket" says 1 "Address already in use" timeout 9 "$kv" --port 0 --unix "$dir/socket" --memory 1M
check "redis-benchmark" timeout 60 redis-benchmark -s "$dir/socket" -q -t set,get,incr,mset -n 20000 -r 1000 -d 100 -P 4
check "SHUTDOWN" shut_down

check "a server with little memory" start --memory 2M --signal --pages 4k
check "without room nothing is lost" fills_up
check "SIGTERM" stop TERM

saving "native, signal mode" --signal
saving "native, bracketed" --pages 4k
if timeout 9 "$kv" --handler --port 0 --unix "$dir/probe" --memory 1M --file "$dir" 2>&1 | grep -q 'no space'; then
	skip "native" "the default mode is not allowed here"
else
	saving "native, a handler" --handler --pages 4k
fi
saving fork --save fork
skip "huge pages of the pool" "tests/native_hugetlb.sh has one"
check "too little memory for a file" too_large
check "a damaged file" damaged
done_testing
