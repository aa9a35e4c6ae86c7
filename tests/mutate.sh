# For scripts that take guards away one at a time: source it after tests/tap.sh. $dir is the test's scratch folder.
# shellcheck shell=sh

# As they are.
copy_sources() {
	rm -rf "$dir/src" "$dir/include"
	cp -r src include "$dir"
}

# In the copy; what is to go must be there.
replace() { # FILE OLD NEW
	python3 - "$dir/src/$1" "$2" "$3" <<-'END'
		import sys
		path, old, new = sys.argv[1:]
		text = open(path).read()
		if text.count(old) < 1:
		    sys.exit(f"{path}: '{old}' is not there any more")
		open(path, "w").write(text.replace(old, new))
	END
}

replace_all() { # (FILE OLD NEW)...
	while [ $# -gt 0 ]; do
		replace "$1" "$2" "$3" || return
		shift 3
	done
}

# In the copy: an assertion that fails says where. What takes a lock away must die at the one that names it.
speak() { # FILE-WITH-hf_assert
	replace "$1" '#define hf_assert(cond) ((cond) ? (void)0 : __builtin_trap())' '#include <stdio.h>
		#define hf_assert(cond) ((cond) ? (void)0 : (dprintf(2, "asserted in %s: %s\n", __func__, #cond), __builtin_trap()))'
}

# Every C file of a folder of the copy, to objects. $flags are the compiler's.
compile_folder() { # FOLDER OBJECTS
	mkdir -p "$2"
	# shellcheck disable=SC2086
	(cd "$2" && printf '%s\n' "$dir/src/$1"/*.c | xargs -P 2 -n 4 gcc $flags -c)
}

# Files of two folders share names, so each folder has its objects: those of a/b are in OBJECTS/a_b.
compile_folders() { # OBJECTS FOLDER...
	to=$1
	shift
	for folder; do
		compile_folder "$folder" "$to/$(echo "$folder" | tr / _)" || return
	done
}
