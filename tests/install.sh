#!/bin/sh
# What is installed can be used: by pkg-config, by CMake, from C and C++, static and shared.
. tests/tap.sh

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
prefix=$dir/usr

cat >"$dir/user.c" <<'END'
#include <holdfast/holdfast.h>
#include <holdfast/hosted.h>
#include <stdio.h>

int main(void)
{
	struct hf_system_config config = { .platform = hf_platform_hosted(), .nr_frames = 16 };
	struct hf_system *sys;
	int err = hf_system_create(&config, &sys);

	if (err)
		return 1;
	puts(hf_system_policy(sys)->name);
	return hf_system_destroy(sys) ? 1 : 0;
}
END

installs() {
	"$CMAKE" --install "$BUILD" --prefix "$prefix"
}

finds_files() {
	lib=$(dirname "$(find "$prefix" -name holdfast.pc)")/..
	for f in "$prefix/bin/holdfast" "$prefix/libexec/holdfast/holdfast-init" \
		"$prefix/libexec/holdfast/holdfast-guardian" \
		"$prefix/libexec/holdfast/holdfast-fetch-kernels" "$prefix/share/man/man1/holdfast.1" \
		"$lib/libholdfast.a" "$lib/libholdfast.so" \
		"$prefix/include/holdfast/holdfast.h" "$lib/cmake/holdfast/holdfast-config.cmake"; do
		[ -e "$f" ] || {
			echo "$f is missing"
			return 1
		}
	done
}

with_pkg_config() { # COMPILER [--static]
	pc=$(dirname "$(find "$prefix" -name holdfast.pc)")
	# the file names the prefix of the build; this is another
	# shellcheck disable=SC2046
	"$1" "$dir/user.c" -o "$dir/user" \
		$(PKG_CONFIG_PATH=$pc pkg-config --define-variable=prefix="$prefix" --cflags --libs ${2-} holdfast) \
		-Wl,-rpath,"$pc/.." || return
	[ "$("$dir/user")" = holdfast ]
}

with_cmake() { # static|shared
	mkdir -p "$dir/$1" && cat >"$dir/$1/CMakeLists.txt" <<-END
		cmake_minimum_required(VERSION 3.20)
		project(user LANGUAGES C)
		find_package(holdfast 0.1 REQUIRED)
		add_executable(user $dir/user.c)
		target_link_libraries(user holdfast::$1)
	END
	"$CMAKE" -S "$dir/$1" -B "$dir/$1/build" -DCMAKE_PREFIX_PATH="$prefix" &&
		"$CMAKE" --build "$dir/$1/build" && [ "$("$dir/$1/build/user")" = holdfast ]
}

from_cxx() {
	cat >"$dir/user.cc" <<-'END'
		#include <holdfast/holdfast.h>
		#include <holdfast/hosted.h>
		int main() { return hf_policy_default() ? 0 : 1; }
	END
	g++ -std=c++17 -Wall -Wextra -Werror -I"$prefix/include" -fsyntax-only "$dir/user.cc"
}

# Nothing but the public names leaves the shared library.
exports_public_names_only() {
	lib=$(find "$prefix" -name libholdfast.so)
	nm -D --defined-only "$lib" | awk '{ print $3 }' | sed 's/@.*//' | grep -v '^HOLDFAST_' | sort >"$dir/exported"
	cat "$prefix"/include/holdfast/*.h | grep -oE '\bhf_[a-z_]+\(' | tr -d '(' | sort -u >"$dir/declared"
	[ -s "$dir/exported" ] && ! comm -23 "$dir/exported" "$dir/declared" | grep .
}

check "cmake --install" installs
check "binary, man page, libraries, headers, pkg-config and CMake files" finds_files
check "a C program by pkg-config" with_pkg_config gcc
check "find_package, shared" with_cmake shared
check "find_package, static" with_cmake static
check "the headers from C++" from_cxx
check "the shared library exports public names only" exports_public_names_only
done_testing
